"""Cancels, wakes, commands, decisions and restarts at random moments of many small runs: each ends once, as told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from temporalio.client import WorkflowFailureError

from tests.faults.accounts import check_accounts
from tests.faults.hands import GRAPHS, Hands, moody
from tests.faults.histories import Stop, complaints
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from vertebra.activities import steps
from vertebra.client.commands import Order
from vertebra.settings import Limits
from vertebra.store.transaction import Row
from vertebra.workflows import calls, interpreter

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(240)]

RUNS = 40
"""Each of some graph, with up to four hands laid on it."""
EVERY_S = 0.15
ENDS_S = 90.0
SIGNALS = 4
"""So few that many runs continue as new."""
AGAIN_S = 1
"""When a failed step is tried again."""
STEPS = ("admit", "decide", "open_approval", "load", "keep", "close")
LIMITS = Limits(cached_runs=24)
"""Some runs are read again from their histories. Fewer than have a task at once would have tasks cut short."""


@pytest.fixture
def moods(seed: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Steps over a store in trouble, counted, and runs that continue as new after a few wakes."""
    found: Counter[str] = Counter()
    chance = random.Random(seed + 1)
    for name in STEPS:
        owner, place = (steps.Steps, "_keep") if name == "keep" else (steps, name)
        monkeypatch.setattr(owner, place, moody(getattr(owner, place), chance, found))
    monkeypatch.setattr(interpreter, "SIGNALS_BEFORE_CONTINUING", SIGNALS)
    monkeypatch.setattr(calls, "LOCAL_WAIT_S", AGAIN_S)
    return found


@pytest.mark.parametrize("restarts", [True, False], ids=["restarts", "one worker"])
async def test_every_run_ends_once_whatever_is_done_to_it_and_when(
    plant: Plant, moods: Counter[str], seed: int, restarts: bool, report: Callable[[str], None]
) -> None:
    """Row, record and Temporal agree, no cancel is lost, no task refused, nothing bought twice; histories replay."""
    graphs = {name: await plant.publish(text) for name, text in GRAPHS.items()}
    graphs["support"] = plant.stage.support
    hands = Hands(plant.stage, random.Random(seed), graphs, f"chance-{'restarts' if restarts else 'one'}")
    operator = Operator(plant, hands.runs, answer)
    seen: Counter[str] = Counter()

    async with working(plant, random.Random(seed + 2), restarts) as stops:
        for _ in range(RUNS):
            await hands.start()
            await asyncio.sleep(EVERY_S)
        await hands.finish()
        await operator.until_all_ended(ENDS_S)
        await results(hands)
    found = [text for run in hands.runs for text in await complaints(plant.stage, run, stops, seen)]

    counts = await check_accounts(plant.stage, hands.runs)
    report(f"seed {seed}, {len(stops)} workers: {hands.did}; steps {moods}; {operator.did}; seen {seen}; {counts}")
    assert [] == found


async def results(hands: Hands) -> None:
    """Until Temporal says of each that it has ended."""
    async with asyncio.timeout(ENDS_S):
        for run in hands.runs:
            with contextlib.suppress(WorkflowFailureError):
                await hands.stage.client.get_workflow_handle(run).result()


@asynccontextmanager
async def working(plant: Plant, chance: random.Random, restarts: bool) -> AsyncIterator[list[Stop]]:
    """A worker for the length of the block, which is stopped and started again now and then; gives when it was."""
    over, stops = asyncio.Event(), list[Stop]()

    async def work() -> None:
        while not over.is_set():
            async with plant.at_work(limits=LIMITS):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), chance.uniform(2, 8) if restarts else None)
                since = datetime.now(UTC)
            stops.append((since, datetime.now(UTC)))

    at_work = asyncio.create_task(work())
    try:
        yield stops
    finally:
        over.set()
        await at_work


def answer(wait: Row) -> Order:
    """What the operator says in the end to what still waits."""
    if wait["kind"] == "event":
        return Order("event", arguments={"event": "paid", "payload": {}})
    return Order("skip", wait["node"], wait["visit"])
