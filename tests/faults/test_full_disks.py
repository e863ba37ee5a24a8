"""A worker whose own disk is full, for mails, large values and log: it lives on, and writes nothing by halves."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.crowd import ENDURES, REPLIES, Crowd, needs_bwrap
from tests.faults.disks import full, needs_root, small_disk
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from tests.faults.tally import NONE, Witness, tally
from vertebra.schemas.errors import StoreError
from vertebra.store.artifacts import MARKER, Artifacts, open_folder

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(300), needs_root, needs_bwrap]

RUNS = 6
DISK_BYTES = 4 * 2**20
LARGE = b"x" * 2 * 2**20


async def test_a_full_disk_of_the_worker_blocks_what_needs_it_and_a_person_lets_it_go_on(
    plant: Plant, seed: int, report: Callable[[str], None]
) -> None:
    """Nodes that cannot write park with the reason, the worker lives; with room again `retry` completes every run."""
    async with small_disk(plant.folder / "worker-disk", DISK_BYTES) as disk:
        mine = _with_mails_in(plant, disk / "mail")
        crowd = Crowd(mine, await mine.publish(ENDURES), random.Random(seed), "full-disk")
        witness, operator = Witness(mine, crowd), Operator(mine, crowd.runs)
        settings, argv = {"VERTEBRA_ARTIFACTS": str(disk / "artifacts")}, _logging_to(disk / "worker.log")
        async with mine.worker(mine.project({"speak": REPLIES}), settings=settings, argv=argv), witness.watching():
            await crowd.start(1)
            await operator.until_all_ended(120)
            born = mine.supervisor.child("worker").pid
            with full(disk):
                await crowd.start(RUNS)
                errors = await _until_blocked(mine, crowd)
                halves = [path for path in (disk / "mail").rglob("*") if path.is_file()]
            await operator.until_all_ended(120)
            counted = await tally(mine, crowd, witness)
            assert born == mine.supervisor.child("worker").pid
        await check_accounts(mine.stage, crowd.runs)

    report(f"the worker's disk was full; said to the operator: {operator.did}\n{counted}")
    assert 1 == len(halves)  # the mail of before
    assert all("No space left on device" in error for error in errors), errors
    assert NONE == counted.faults
    assert {"AttemptsUsedUp", "JobFailed"} >= operator.did.keys()


async def test_a_large_value_is_stored_whole_or_not_at_all(plant: Plant) -> None:
    """A full disk is an error of the store; nothing of the value is left; with room again the same call stores it."""
    async with small_disk(plant.folder / "artifact-disk", DISK_BYTES) as disk:
        store = Artifacts(plant.stage.world.pool, open_folder(disk / "artifacts", create=True))
        with full(disk):
            with pytest.raises(StoreError, match="No space left on device"):
                await store.put("default", LARGE)
            left = [path.name for path in (disk / "artifacts").rglob("*") if path.is_file()]

        ref = await store.put("default", LARGE)

        assert [MARKER] == left
        assert LARGE == await store.get("default", hashlib.sha256(LARGE).hexdigest())
        assert len(LARGE) == ref.size


def _with_mails_in(plant: Plant, maildir: Path) -> Plant:
    world = replace(plant.stage.world, maildir=maildir)
    return replace(plant, stage=replace(plant.stage, world=world))


def _logging_to(log: Path) -> tuple[str, ...]:
    """`vertebra worker` as an operator may start it, its log on the same disk."""
    return ("/bin/sh", "-c", 'exec "$0" worker 2>> "$1"', str(Path(sys.executable).parent / "vertebra"), str(log))


async def _until_blocked(plant: Plant, crowd: Crowd) -> list[str]:
    """Why, once every run is parked."""
    for _ in range(480):
        rows = await plant.sql(
            "select convert_from(error, 'UTF8') as error from waits where run = any(%(runs)s) and kind = 'blocked'",
            runs=crowd.runs,
        )
        if len(rows) == RUNS:
            return [str(row["error"]) for row in rows]
        await asyncio.sleep(0.25)
    raise AssertionError(f"only {len(rows)} of {RUNS} runs are parked")
