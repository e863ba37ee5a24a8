"""A server that is gone, or whose disk is full, for a while: runs wait where they are and then go on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.disks import database_on_small_disk, full, needs_root
from tests.faults.operator import Operator
from tests.faults.plant import TICKETS, Plant
from vertebra.schemas.errors import ServiceFailed, StoreError

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(480)]

OUTAGE_S = 8.0
REFUSALS = 3
SPEAKS = """
graph: flying
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, tokens: 100000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  slow: {agent: speaker, input: {text: input.text}, write: {said: text}}
"""


@pytest.fixture(scope="module")
async def busy(plant: Plant) -> AsyncIterator[Plant]:
    """The plant with a worker in this process."""
    async with plant.at_work():
        yield plant


async def test_runs_wait_for_a_postgres_that_is_gone(busy: Plant, report: Callable[[str], None]) -> None:
    """One starts, one has a call in flight, one looks for a decision: each waits and goes on, bought once."""
    graph = await busy.publish(SPEAKS)
    waiting = await _waiting(busy)
    reminders = await _timers(busy, waiting)
    flying = await busy.stage.start(graph, {"text": "x"})
    await _until_held(busy, flying.id)

    async with busy.outage("postgres"):
        starting = await busy.stage.start(busy.stage.support, TICKETS[1])
        await busy.stage.wake(waiting)
        await asyncio.sleep(OUTAGE_S)
        await _until_timers(busy, waiting, reminders + 1)
        await _until_timers(busy, starting.id, 1)
    back = time.monotonic()
    runs = [waiting, flying.id, starting.id]
    rows = await Operator(busy, runs).until_all_ended(180)

    counts = await check_accounts(busy.stage, runs)
    timers = [await _timers(busy, run) for run in runs]
    report(
        f"Postgres gone for {OUTAGE_S:g} s, all ended {time.monotonic() - back:.0f} s later, timers {timers}: {counts}"
    )
    assert {"completed"} == {row["state"] for row in rows}
    assert (0, 0) == (counts.lost, counts.bought_again)


async def test_a_decision_signed_while_temporal_is_gone_reaches_its_run(
    busy: Plant, report: Callable[[str], None]
) -> None:
    """The row is enough: nobody but the outbox wakes the run, once Temporal is back, and it hears the decision."""
    run = await _waiting(busy)
    operator = Operator(busy, [run])

    async with busy.outage("temporal"):
        await operator.act()
        await asyncio.sleep(OUTAGE_S)
    back = time.monotonic()
    [row] = await operator.until_all_ended(180)

    report(f"decided while Temporal was gone, ended {time.monotonic() - back:.0f} s after it was back")
    assert "completed" == row["state"]
    assert {"approval": 1} == operator.did
    assert await _was_signalled(busy, run)
    assert 1 == (await check_accounts(busy.stage, [run])).mails


@needs_root
async def test_a_full_disk_stops_the_calls_until_it_is_freed(busy: Plant, report: Callable[[str], None]) -> None:
    """What cannot be recorded is not bought, and no run ends; with space again every run goes on to its end.

    A Postgres that starts again on a full disk may find room for some rows in its old log: such a call may be bought.
    """
    async with database_on_small_disk(busy) as disk:
        with full(disk):
            await _use_up_log(busy)
            before = len(busy.stage.bought())
            handles = [await busy.stage.start(busy.stage.support, ticket) for ticket in TICKETS[:3]]
            await _keep_log_used_up(busy, OUTAGE_S)
            meanwhile = busy.stage.bought()[before:]
            freed = datetime.now(UTC)
        runs = [handle.id for handle in handles]
        rows = await Operator(busy, runs).until_all_ended(180)
        counts = await check_accounts(busy.stage, runs)
        recorded = await busy.sql(
            "select call from attempts where run = any(%(runs)s) and started_at <= %(freed)s", runs=runs, freed=freed
        )
        ended = await busy.sql("select ended_at from runs where id = any(%(runs)s)", runs=runs)

    report(f"disk full for {OUTAGE_S:g} s: {len(meanwhile)} sales, {len(recorded)} calls recorded; afterwards {counts}")
    assert Counter(sale["call_id"] for sale in meanwhile) <= Counter(row["call"] for row in recorded)
    assert freed < min(row["ended_at"] for row in ended)
    assert {"completed"} == {row["state"] for row in rows}


async def _waiting(plant: Plant) -> str:
    """A run that waits for an approval."""
    handle = await plant.stage.start(plant.stage.support, TICKETS[3])
    for _ in range(1200):
        if await plant.sql("select 1 from waits where run = %(run)s and kind = 'approval'", run=handle.id):
            return handle.id
        await asyncio.sleep(0.05)
    raise AssertionError(f"{handle.id} never waited")


async def _until_held(plant: Plant, run: str) -> None:
    for _ in range(1200):
        if await plant.sql("select 1 from attempts where run = %(run)s and state = 'held'", run=run):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{run} never called")


async def _timers(plant: Plant, run: str) -> int:
    """The durable timers that a run has started; no workflow task of it failed."""
    history = await plant.stage.client.get_workflow_handle(run).fetch_history()
    assert not [event for event in history.events if event.HasField("workflow_task_failed_event_attributes")]
    return sum(event.HasField("timer_started_event_attributes") for event in history.events)


async def _until_timers(plant: Plant, run: str, least: int) -> None:
    """Its look at the store has failed, and it waits on a timer."""
    for _ in range(240):
        if await _timers(plant, run) >= least:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"{run} never waited on a timer")


async def _was_signalled(plant: Plant, run: str) -> bool:
    history = await plant.stage.client.get_workflow_handle(run).fetch_history()
    return any(event.HasField("workflow_execution_signaled_event_attributes") for event in history.events)


async def _use_up_log(plant: Plant) -> None:
    """Have Postgres begin new segments of its log until there is no room for one.

    One refusal may be of a connection that an earlier outage has cut; several in a row are the disk's.
    """
    refused = 0
    for _ in range(60):
        refused = 0 if await _fills(plant) else refused + 1
        if refused == REFUSALS:
            return
    raise AssertionError("the disk is never full")


async def _keep_log_used_up(plant: Plant, seconds: float) -> None:
    """Use up again whatever room a Postgres finds that starts again on its full disk."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await _fills(plant)


async def _fills(plant: Plant) -> bool:
    """Whether Postgres had room for another segment of its log and some rows; if not, only after a moment."""
    try:
        await plant.stage.sql("select pg_switch_wal()")
        await plant.stage.sql("create table if not exists filler (text text)")
        await plant.stage.sql("insert into filler select repeat('x', 1000) from generate_series(1, 2000)")
    except (StoreError, ServiceFailed):
        await asyncio.sleep(0.2)
        return False
    return True
