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

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(300)]

KILLS = 5
GAPS_S = {"worker": (1.5, 9.0), "temporal": (0.5, 3.0), "postgres": (0.5, 3.0)}
"""Between two kills: long enough for the killed one to be at work again."""


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
        ending = asyncio.create_task(operator.until_all_ended(240))
        moments = [await _kill(plant, victim, chance, operator) for _ in range(KILLS)]
        rows = await ending
        results = {handle.id: await handle.result() for handle in handles}

    counts = await check_accounts(plant.stage, operator.runs)
    report(f"{victim} killed {KILLS} times (seed {seed}; in flight at each: {moments}): {counts}; {operator.did}")
    assert ["completed"] * len(TICKETS) == [row["state"] for row in rows]
    assert {row["id"]: json.loads(bytes(row["output"])) for row in rows} == results


async def _kill(plant: Plant, victim: str, chance: random.Random, operator: Operator) -> int:
    """Kill it after a while; how many calls were in flight then."""
    await asyncio.sleep(chance.uniform(*GAPS_S[victim]))
    [row] = await plant.sql(
        "select count(*) as flying from attempts where state = 'held' and run = any(%(runs)s)", runs=list(operator.runs)
    )
    await plant.supervisor.wait_ready(victim)
    plant.supervisor.kill(victim)
    await plant.supervisor.wait_ready(victim)
    flying: int = row["flying"]
    return flying
