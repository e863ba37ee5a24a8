"""A worker that cannot reach Temporal or Postgres for a while: its runs wait, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.faults.crowd import ENDURES, REPLIES, Crowd, needs_bwrap
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from tests.faults.tally import NONE, Witness, tally
from tests.faults.wire import LOOPBACK, Wire, wired

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(300), needs_bwrap]

RUNS = 12
CLOSED_S, HOLE_S = (5.0, 9.0), (11.0, 30.0)
"""Longer than a heartbeat, a black hole also has Temporal give the calls to another attempt."""


@dataclass
class Wires:
    """The cables of one worker."""

    temporal: Wire
    postgres: Wire


@pytest.mark.parametrize("server", ["temporal", "postgres"])
@pytest.mark.parametrize("how", ["closed", "hole"])
async def test_runs_outlast_a_partition(
    plant: Plant, server: str, how: str, seed: int, report: Callable[[str], None]
) -> None:
    """Cut or swallowed up for 5 to 30 s with calls in flight: all runs complete, and every account agrees."""
    chance = random.Random(f"{seed} {server} {how}")
    crowd = Crowd(plant, await plant.publish(ENDURES), chance, f"parted-{server}-{how}")
    witness = Witness(plant, crowd)
    lasts_s = chance.uniform(*(CLOSED_S if how == "closed" else HOLE_S))

    async with _parted_worker(plant) as wires, witness.watching():
        wire = wires.temporal if server == "temporal" else wires.postgres
        await crowd.start(RUNS)
        await _until_flying(plant, crowd)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        if how == "closed":
            wire.close()
        else:
            wire.hole()
        await asyncio.sleep(lasts_s)
        wire.mend()
        await Operator(plant, crowd.runs).until_all_ended(180)
        counted = await tally(plant, crowd, witness)

    report(f"{server} {how} for {lasts_s:.1f} s (seed {seed})\n{counted}")
    assert NONE == counted.faults


async def test_a_database_that_never_answers_again_is_asked_anew(
    plant: Plant, seed: int, report: Callable[[str], None]
) -> None:
    """Every connection falls silent without an end, as after a failover: the worker gives them up and makes others."""
    crowd = Crowd(plant, await plant.publish(ENDURES), random.Random(seed), "silent")
    witness = Witness(plant, crowd)

    async with _parted_worker(plant) as wires, witness.watching():
        await crowd.start(RUNS)
        await _until_flying(plant, crowd)
        wires.postgres.hole(forget=True)
        wires.postgres.mend()
        await Operator(plant, crowd.runs).until_all_ended(180)
        counted = await tally(plant, crowd, witness)

    report(f"every connection of the worker to Postgres fell silent\n{counted}")
    assert NONE == counted.faults


@asynccontextmanager
async def _parted_worker(plant: Plant) -> AsyncIterator[Wires]:
    """A worker that reaches its servers by cables alone."""
    gate = urlsplit(plant.migrated.dsn("vertebra_gate"))
    temporal = int(plant.supervisor.services.temporal_address.rpartition(":")[2])
    assert gate.port is not None
    async with wired(temporal) as first, wired(gate.port) as second:
        place = f"{gate.netloc.rpartition('@')[0]}@{LOOPBACK}:{second.port}"
        settings = {
            "VERTEBRA_GATE_DSN": gate._replace(netloc=place).geturl(),
            "VERTEBRA_TEMPORAL_ADDRESS": f"{LOOPBACK}:{first.port}",
        }
        async with plant.worker(plant.project({"speak": REPLIES}), settings=settings):
            yield Wires(first, second)


async def _until_flying(plant: Plant, crowd: Crowd) -> None:
    """Calls of these runs have left."""
    for _ in range(1200):
        if await plant.sql("select 1 from attempts where run = any(%(runs)s) and state = 'held'", runs=crowd.runs):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no call ever left")
