"""SIGKILL of each service at random moments while ten tickets are worked on: no run, sale, effect or entry is lost."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.killing import Killer
from tests.faults.operator import Operator
from tests.faults.plant import TICKETS, Plant, slowed_replies

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(480)]

KILLS = 5


@pytest.fixture(scope="module")
def project(plant: Plant) -> Path:
    """The support project, whose models take their time, so that kills hit calls in flight."""
    return plant.project(slowed_replies(300, 1500))


@pytest.mark.parametrize("victim", ["worker", "temporal", "postgres"])
async def test_every_run_ends_however_often_a_service_is_killed(
    plant: Plant, project: Path, victim: str, seed: int, report: Callable[[str], None]
) -> None:
    """Ten runs, five kills: all complete, each effect happened once, each sale is settled or held, chains verify."""
    async with plant.worker(project):
        handles = [await plant.stage.start(plant.stage.support, ticket) for ticket in TICKETS]
        operator = Operator(plant, [handle.id for handle in handles])
        ending = asyncio.create_task(operator.until_all_ended(360))
        killer = Killer(plant, random.Random(seed), operator.runs)
        for _ in range(KILLS):
            await killer.kill(victim)
        rows = await ending
        results = {handle.id: await handle.result() for handle in handles}

    counts = await check_accounts(plant.stage, operator.runs)
    report(
        f"{victim} killed {KILLS} times (seed {seed}; in flight at each: {killer.in_flight}): {counts}; {operator.did}"
    )
    assert ["completed"] * len(TICKETS) == [row["state"] for row in rows]
    assert {row["id"]: json.loads(bytes(row["output"])) for row in rows} == results
