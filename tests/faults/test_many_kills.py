"""Twenty SIGKILLs of each service at random moments over a crowd of runs: nothing is lost, doubled or unpaid."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.crowd import ENDURES, REPLIES, Crowd, needs_bwrap
from tests.faults.killing import VICTIMS, Killer
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from tests.faults.tally import NONE, Witness, tally

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(600), needs_bwrap]

AT_A_KILL = 6
"""Runs that begin before each kill: those of the last one wait for the end of their heartbeats."""
GAP_S = 1.0


@pytest.mark.parametrize("victim", VICTIMS)
async def test_nothing_is_lost_however_often_a_service_is_killed(
    plant: Plant, victim: str, seed: int, kills: int, report: Callable[[str], None]
) -> None:
    """Twenty kills while runs are under way, each with calls in flight: all complete, and every account agrees."""
    chance = random.Random(seed)
    crowd = Crowd(plant, await plant.publish(ENDURES), chance, f"killed-{victim.replace(' ', '-')}")
    killer = Killer(plant, chance, crowd.runs, GAP_S)
    operator, witness = Operator(plant, crowd.runs), Witness(plant, crowd)

    async with plant.worker(plant.project({"speak": REPLIES})), witness.watching():
        plant.hurry()
        for _ in range(kills):
            await crowd.start(AT_A_KILL)
            await killer.kill(victim)
        await operator.until_all_ended(240)
        counted = await tally(plant, crowd, witness)

    report(
        f"{victim} killed {kills} times (seed {seed}; in flight at each: {killer.in_flight}); {operator.did}\n{counted}"
    )
    assert NONE == counted.faults
    assert kills == killer.killed[victim]
    await check_accounts(plant.stage, crowd.runs)
