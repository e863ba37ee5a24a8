"""Signals are anybody's: of any name, number and content they only make the run look, and never stop it."""

from __future__ import annotations

import asyncio
import json

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.service import RPCError

from tests.attacks.trying import raw
from tests.integration.runs.waits import Handle, ended, waiting
from tests.stage import TEMPLATE, Stage

pytestmark = [pytest.mark.attack, pytest.mark.server]

REFUND = json.loads((TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()[3])
MANY, AT_ONCE = 10_000, 250


async def parked(stage: Stage) -> tuple[Handle, str]:
    handle = await stage.start(stage.support, REFUND)
    return handle, (await waiting(handle.id, stage, "approval"))["ref"]


async def test_no_odd_signal_stops_a_run(stage: Stage) -> None:
    """Endless, reserved and poisoned signals are taken, and the run still hears the true decision."""
    handle, approval = await parked(stage)
    sold = len(stage.bought(handle.id))
    names = [
        "look",
        "x" * 900,
        "läuft\u202e\U0001f600",
        "__temporal_x",
        "__stack_trace",
        "run",
        "woken",
        "state",
        "../look",
        "approve",
    ]
    contents: list[list[object]] = [
        [],
        [None],
        [approval, "approve", "ada"],
        list(range(200)),
        [raw(b"\x00\xff", "binary/plain")],
        [raw(b"", "binary/null")],
        [raw(b"{", "json/plain")],
        [raw(b"[" * 50_000, "json/plain")],
        [raw(b'"\\ud800"', "json/plain")],
        [raw(b"NaN", "json/plain")],
        [raw(b"x" * 1_000_000, "binary/encrypted")],
        [raw(b"x", "")],
    ]
    for name in names:
        await handle.signal(name, args=["x"])
    for content in contents:
        await handle.signal("look", args=content)

    assert "running" == (await handle.describe()).status.name.lower()  # type: ignore[union-attr]  # it has one
    await stage.decide(approval, "approve")
    output, _ = await ended(handle, stage)

    assert "answered" == output["status"]
    assert sold == len(stage.bought(handle.id))


async def test_no_signal_decides(stage: Stage) -> None:
    """A signal that says it is an approval, a command or a result is none: the run waits on."""
    handle, approval = await parked(stage)
    for name in ("approve", "decision", "look", "resume", "skip"):
        await handle.signal(name, args=[{"approval": approval, "verb": "approve", "person": "ada", "by": "ada"}])

    await asyncio.sleep(1)

    assert [] == await stage.sql("select 1 from calls where run = %(id)s and node = 'send'", id=handle.id)
    [row] = await stage.sql("select state from approvals where id = %(id)s", id=approval)
    assert "pending" == row["state"]


async def test_updates_and_unknown_queries_are_refused(stage: Stage) -> None:
    """There is one query and no update: anything else is refused, and the run lives."""
    handle, approval = await parked(stage)

    with pytest.raises((WorkflowUpdateFailedError, RPCError)):
        await asyncio.wait_for(handle.execute_update("approve", approval), 60)
    for query in ("", "secrets", "x" * 900):
        with pytest.raises((WorkflowQueryFailedError, RPCError)):
            await handle.query(query)
    await stage.decide(approval, "approve")
    output, _ = await ended(handle, stage)

    assert "answered" == output["status"]


@pytest.mark.timeout(480)
async def test_ten_thousand_signals_and_then_the_approval(stage: Stage) -> None:
    """A flood makes the run go on in new executions; the approval after it is heard, nothing is bought twice."""
    handle, approval = await parked(stage)
    run = handle.id
    first = (await handle.describe()).run_id
    sold = len(stage.bought(run))
    newest = stage.client.get_workflow_handle(run)
    room = asyncio.Semaphore(AT_ONCE)
    flood = SignalWorkflowExecutionRequest(
        namespace=stage.client.namespace, workflow_execution=WorkflowExecution(workflow_id=run), signal_name="flood"
    )

    async def signal(number: int) -> int:
        async with room:
            for pause_s in (0, 0.5, 2):  # a busy server refuses some, and so does one that is sent them very fast
                await asyncio.sleep(pause_s)
                try:
                    flood.request_id = str(number)
                    await stage.client.workflow_service.signal_workflow_execution(flood)
                except RPCError:
                    continue  # the server takes 10,000 per execution, and refuses more until the next one
                return 1
            return 0

    taken = sum(await asyncio.gather(*(signal(number) for number in range(MANY))))
    await stage.decide(approval, "approve", wake=False)
    for _ in range(40):
        try:
            await newest.signal("look")
            break
        except RPCError:
            await asyncio.sleep(1)
    result = await asyncio.wait_for(newest.result(), 240)

    assert isinstance(result, dict)
    assert "answered" == result["status"]
    assert MANY * 0.9 < taken
    assert first != (await newest.describe()).run_id
    assert sold == len(stage.bought(run))
    [calls] = await stage.sql("select count(*) as n from calls where run = %(id)s and node = 'send'", id=run)
    assert 1 == calls["n"]
    [row] = await stage.sql("select state, chain from runs where id = %(id)s", id=run)
    assert ("completed", first) == (row["state"], row["chain"])
