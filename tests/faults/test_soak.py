"""Five hundred runs under kills of everything without a pause: what is lost, doubled or unpaid is counted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.crowd import ENDURES, REPLIES, Crowd, needs_bwrap
from tests.faults.killing import VICTIMS, Killer
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from tests.faults.tally import NONE, Tally, Witness, tally

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(540), needs_bwrap]

LONGEST_S = 480.0
KILLING_S = 240.0
"""Then the rest of the runs go on in peace: a slow machine kills fewer, and finishes all the same."""
AT_ONCE = 64
TICKET_EVERY = 25
GAP_S = 2.0


async def test_a_soak_under_kills_of_everything_leaves_every_account_exact(
    plant: Plant, seed: int, pytestconfig: pytest.Config, report: Callable[[str], None]
) -> None:
    """Worker, Temporal, Postgres and tool host die in turn, at random moments, while runs keep coming: all zero."""
    total: int = pytestconfig.getoption("--soak")
    chance = random.Random(seed)
    crowd = Crowd(plant, await plant.publish(ENDURES), chance, "soaked", ticket_every=TICKET_EVERY)
    killer = Killer(plant, chance, crowd.runs, GAP_S)
    operator, witness = Operator(plant, crowd.runs), Witness(plant, crowd)
    began = time.monotonic()

    async with plant.worker(plant.project({"speak": REPLIES})), witness.watching(), asyncio.timeout(LONGEST_S):
        plant.hurry()
        feeding = asyncio.create_task(crowd.feed(total, AT_ONCE))
        killing = asyncio.create_task(_kill_while(feeding, killer, chance))
        await operator.until_done(feeding)
        await operator.until_done(killing)
        await operator.until_all_ended(LONGEST_S)
        counted = await tally(plant, crowd, witness)

    lasted_s = time.monotonic() - began
    report(f"a soak of {lasted_s:.0f} s, seed {seed}: killed {dict(killer.killed)}; {operator.did}\n{counted}")
    write(pytestconfig.getoption("--table"), counted, killer, seed)
    assert NONE == counted.faults
    assert total == len(crowd.runs)
    assert set(VICTIMS) == killer.killed.keys()
    await check_accounts(plant.stage, crowd.runs)


async def _kill_while(feeding: asyncio.Task[None], killer: Killer, chance: random.Random) -> None:
    """One after the other, each once in every four."""
    until = time.monotonic() + KILLING_S
    while True:
        for victim in chance.sample(VICTIMS, len(VICTIMS)):
            if feeding.done() or time.monotonic() > until:
                return
            await killer.kill(victim)


def write(place: Path, counted: Tally, killer: Killer, seed: int) -> None:
    """The counts, for whoever wants to cite them."""
    killed = ", ".join(f"{victim} {killer.killed[victim]}" for victim in VICTIMS)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"Soak of {datetime.now(UTC):%Y-%m-%d}, seed {seed}. SIGKILLs: {killed}.\n\n{counted}\n")
