"""SIGKILL of each service at random moments while ten tickets are worked on: no run, sale, effect or entry is lost."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.operator import Operator
from tests.faults.plant import TICKETS, Plant, slowed_replies

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(480)]

KILLS = 5
GAP_S = 2.0


@pytest.fixture(scope="module")
def project(plant: Plant) -> Path:
    """The support project, whose models take their time, so that kills hit calls in flight."""
    return plant.project(slowed_replies(300, 1500))


@pytest.mark.parametrize("victim", ["worker", "temporal", "postgres"])
async def test_every_run_ends_however_often_a_service_is_killed(
    plant: Plant, project: Path, victim: str, report: Callable[[str], None]
) -> None:
    """Ten runs, five kills: all complete, each effect happened once, each sale is settled or held, chains verify."""
    seed = secrets.randbits(32)
    chance = random.Random(seed)

    async with plant.worker(project):
        handles = [await plant.stage.start(plant.stage.support, ticket) for ticket in TICKETS]
        operator = Operator(plant, [handle.id for handle in handles])
        ending = asyncio.create_task(operator.until_all_ended(360))
        moments = [await _kill(plant, victim, chance, operator) for _ in range(KILLS)]
        rows = await ending
        results = {handle.id: await handle.result() for handle in handles}

    counts = await check_accounts(plant.stage, operator.runs)
    report(f"{victim} killed {KILLS} times (seed {seed}; in flight at each: {moments}): {counts}; {operator.did}")
    assert ["completed"] * len(TICKETS) == [row["state"] for row in rows]
    assert {row["id"]: json.loads(bytes(row["output"])) for row in rows} == results


async def _kill(plant: Plant, victim: str, chance: random.Random, operator: Operator) -> int:
    """Kill it a while after calls have left again, if any still do; how many were in flight then."""
    await plant.supervisor.wait_ready(victim)
    await _until_flying(operator)
    await asyncio.sleep(chance.uniform(0.0, GAP_S))
    flying = await _flying(operator)
    plant.supervisor.kill(victim)
    await plant.supervisor.wait_ready(victim)
    return flying


async def _until_flying(operator: Operator) -> None:
    """A worker takes a while to start, and lost calls wait for their heartbeat's end."""
    for _ in range(200):
        if await _flying(operator):
            return
        await asyncio.sleep(0.1)


async def _flying(operator: Operator) -> int:
    """The calls in flight in the worker that lives now."""
    pid = operator.plant.supervisor.child("worker").pid
    [row] = await operator.plant.sql(
        "select count(*) as flying from attempts"
        " where state = 'held' and run = any(%(runs)s) and worker like %(worker)s",
        runs=list(operator.runs),
        worker=f"{pid}@%",
    )
    flying: int = row["flying"]
    return flying
