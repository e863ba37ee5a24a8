"""A process that stands still for a while and then goes on as if nothing had been: late outcomes are told as late."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.crowd import ENDURES, REPLIES, Crowd, needs_bwrap
from tests.faults.killing import children
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from tests.faults.tally import NONE, Witness, tally
from vertebra.schemas.canonical import Json

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(300), needs_bwrap]

RUNS = 12
PAUSE_S = 13.0
"""Longer than the heartbeats' 10 s."""
BACK_S = 3.0
"""Time for one that goes on to report what it has, before it is told to end."""
SLOW: list[Json] = [{"reply": "spoken", "delay": "9s"}]
"""So that most of the runs wait for their reply at once, and none has it before the worker stops; less than a pause."""
FEW = {"VERTEBRA_LIMITS__EFFECTS": str(RUNS)}
"""What stands still holds all its places: else Temporal would give it more calls, each till its heartbeat fails."""


@pytest.mark.parametrize("victim", ["postgres", "temporal"])
async def test_runs_outlast_a_server_that_stands_still(
    plant: Plant, victim: str, seed: int, report: Callable[[str], None]
) -> None:
    """SIGSTOP of all of its processes with calls in flight, SIGCONT later: all complete, every account agrees."""
    crowd = Crowd(plant, await plant.publish(ENDURES), random.Random(seed), f"paused-{victim}")
    witness = Witness(plant, crowd)

    async with plant.worker(plant.project({"speak": REPLIES})), witness.watching():
        await crowd.start(RUNS)
        await _flying(plant, crowd)
        _signal(plant, victim, signal.SIGSTOP)
        await asyncio.sleep(PAUSE_S)
        _signal(plant, victim, signal.SIGCONT)
        await Operator(plant, crowd.runs).until_all_ended(180)
        counted = await tally(plant, crowd, witness)

    report(f"{victim} stood still for {PAUSE_S:g} s\n{counted}")
    assert NONE == counted.faults


async def test_what_a_worker_brings_after_its_heartbeats_have_ended_is_late_or_held(
    plant: Plant, seed: int, report: Callable[[str], None]
) -> None:
    """Another worker has made the calls by then. A reply that is read is paid for, told as late, and answers nothing;
    a call that the client gives up first, five seconds after its heartbeat was due, stays unknown and its money held.
    """
    crowd = Crowd(plant, await plant.publish(ENDURES), random.Random(seed), "paused-worker")
    witness = Witness(plant, crowd)

    project = plant.project({"speak": SLOW})
    async with plant.worker(project, "worker", FEW), witness.watching():
        await crowd.start(RUNS)
        await _flying(plant, crowd, RUNS // 2)
        plant.supervisor.kill("worker", signal.SIGSTOP)
        flying = await _flying(plant, crowd)
        async with plant.worker(project, "other"):
            await asyncio.sleep(PAUSE_S)
            await Operator(plant, crowd.runs).until_all_ended(180)
            plant.supervisor.kill("worker", signal.SIGCONT)
            await asyncio.sleep(BACK_S)
    counted = await tally(plant, crowd, witness)

    late, lost = await _late(plant, crowd), counted.amounts["attempts lost with their process"]
    report(
        f"a worker stood still with {flying} calls in flight: {dict(late)} came late, {lost} were given up\n{counted}"
    )
    assert NONE == counted.faults
    assert flying <= late.total() + lost
    await check_accounts(plant.stage, crowd.runs, settled_again=late["settled"])


def _signal(plant: Plant, victim: str, number: signal.Signals) -> None:
    """To the server and to all that it has started: those of Postgres each lead a session of their own."""
    pid = plant.supervisor.kill(victim, number)
    for child in children(pid):
        with contextlib.suppress(ProcessLookupError):  # a server that goes on takes leave of those that have ended
            os.kill(child, number)


async def _flying(plant: Plant, crowd: Crowd, least: int = 1) -> int:
    """How many model calls of these runs are under way, once there are so many."""
    for _ in range(1200):
        [row] = await plant.sql(
            "select count(*) as held from attempts a join calls c on c.id = a.call"
            " where a.run = any(%(runs)s) and a.state = 'held' and c.kind = 'llm'",
            runs=crowd.runs,
        )
        if row["held"] >= least:
            return int(row["held"])
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {least} calls at once")


async def _late(plant: Plant, crowd: Crowd) -> Counter[str]:
    """Attempts that were told a second time, as late, by what became of their money.

    One that was stopped between its intent and its request has bought nothing: it is released.
    """
    rows = await plant.sql(
        "select a.state from (select convert_from(body, 'UTF8')::jsonb as body from audit"
        " where stream = any(%(runs)s)) told"
        " join attempts a on a.call = told.body ->> 'call' and a.n = (told.body ->> 'attempt')::int"
        " where told.body ->> 'outcome' = 'late'",
        runs=crowd.runs,
    )
    return Counter(row["state"] for row in rows)
