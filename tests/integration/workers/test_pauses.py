"""Nodes that wait, on the real servers: for a time and for an event, also over the end of the run and its history."""

from __future__ import annotations

import asyncio
import json

import pytest
from temporalio.client import WorkflowFailureError

from tests.integration.runs.waits import Handle, ended
from tests.integration.workers.desk import WAYS, goes_on, told, until
from tests.integration.workers.test_resume_decisions import HEAD
from tests.stage import Stage
from vertebra.schemas.canonical import Json

pytestmark = pytest.mark.server

BODY = """  pause: {type: wait, for: 1s}
  one: {type: wait, event: paid, form: {amount: {type: float, required: true}}}
  two: {type: wait, event: paid, write: {said: sent_by}}
edges:
  - pause -> one
  - one -> two
"""


def paid(amount: Json) -> Json:
    return {"event": "paid", "payload": {"amount": amount}}


@pytest.mark.parametrize("history", WAYS)
async def test_waits_end_once_also_in_a_resumed_run(stage: Stage, history: bool) -> None:
    """The time is fixed once; each event is taken once, the oldest that fits first; a resumed run hears the same."""
    graph = stage.compile(HEAD.replace("NAME", f"pauses-{history}".lower()) + BODY)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "x"})
    await stage.enroll("cyd", "starter")
    await until(lambda: admitted(stage, handle.id))
    await stage.command(handle.id, "event", arguments=paid("much"))
    await stage.command(handle.id, "event", arguments=paid(3.5))
    await until(lambda: waits_at(stage, handle.id, "two"))
    before = await ends(stage, handle.id)

    await goes_on(stage, handle, history)
    await until(lambda: waits_at(stage, handle.id, "two"))
    await stage.command(handle.id, "event", arguments=paid(4.5), by="cyd")
    output, row = await ended(stage.client.get_workflow_handle(handle.id), stage)

    assert ({"said": "cyd"}, "completed") == (output, row["state"])
    assert before == await ends(stage, handle.id)
    entries = [entry for entry in await told(stage, handle.id) if str(entry["operation"]).startswith("event_")]
    assert ["event_refused", "event_taken", "event_taken"] == [entry["operation"] for entry in entries]
    assert [("one", 1), ("one", 1), ("two", 1)] == [(entry["node"], entry["visit"]) for entry in entries]


async def ends(stage: Stage, run: str) -> list[object]:
    """When the waits of a run end, as its envelopes say."""
    rows = await stage.sql("select body from envelopes where run = %(run)s and kind = 'plan' order by id", run=run)
    found = [json.loads(bytes(row["body"])).get("inline") or {} for row in rows]
    return [inline["wait"] for inline in found if "wait" in inline]


async def admitted(stage: Stage, run: str) -> bool:
    return bool(await stage.sql("select 1 from runs where id = %(run)s", run=run))


async def waits_at(stage: Stage, run: str, node: str) -> bool:
    rows = await stage.sql("select node from waits where run = %(run)s and kind = 'event'", run=run)
    return [node] == [row["node"] for row in rows]


@pytest.mark.timeout(480)
async def test_a_wait_goes_on_in_a_continued_run(stage: Stage) -> None:
    """Thousands of signals make the run continue as new: what is left of the hour is waited for, and no new hour."""
    body = "  one: {type: wait, for: 1h}\n"
    graph = stage.compile(HEAD.replace("NAME", "pauses-on") + body)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "x"})
    await until(lambda: admitted(stage, handle.id))
    first = (await handle.describe()).run_id
    await asyncio.sleep(2)  # the wait ends at a whole second: what is left of it is then less than the hour

    for _ in range(21):
        await asyncio.gather(*(handle.signal("paid", "at all") for _ in range(100)))
    newest = stage.client.get_workflow_handle(handle.id)
    await until(lambda: continued(newest, first), 240)
    await until(lambda: hours(newest), 60)
    [left] = await hours(newest)
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await newest.result()

    assert 1800 < left < 3600
    assert 1 == len(await ends(stage, handle.id))


async def continued(newest: Handle, first: str | None) -> bool:
    return (await newest.describe()).run_id != first


async def hours(newest: Handle) -> list[float]:
    """How long the newest execution's long timers take, in seconds."""
    history = await newest.fetch_history()
    timers = [event.timer_started_event_attributes.start_to_fire_timeout for event in history.events]
    return [timer.ToTimedelta().total_seconds() for timer in timers if timer.seconds > 1800]
