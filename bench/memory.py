"""W7: the memory that one waiting run keeps in its worker, beside a waiting workflow written by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

from temporalio.client import WorkflowHandle

from bench.processes import memory_bytes, worker
from bench.project import INPUT
from bench.shapes import PLAIN, VERTEBRA, Hand, Runs
from bench.stage import Stage
from vertebra.client.approvals import pending

WARM_UP, RUNS = 150, 300
"""A worker's pools and arenas grow with its first runs; all of them together stay below what it caches."""
GOAL = 1.3
_SETTLE_S = 3.0


async def waiting(stage: Stage, folder: Path) -> dict[str, float]:
    """KiB of private memory per waiting run, by contestant."""
    return {name: await _of(stage, folder, name) for name in (VERTEBRA, PLAIN)}


async def _of(stage: Stage, folder: Path, name: str) -> float:
    runs = Runs(stage)
    async with worker(name, folder) as pid:
        handles = await _parked(stage, runs, name, WARM_UP)
        before = memory_bytes(pid)
        handles += await _parked(stage, runs, name, RUNS)
        kept = (memory_bytes(pid) - before) / RUNS / 1024
        await asyncio.gather(*(handle.terminate() for handle in handles))
    return kept


async def _parked(stage: Stage, runs: Runs, name: str, count: int) -> list[WorkflowHandle[object, object]]:
    """Start so many, and wait until each waits."""
    found = []
    for _ in range(count):
        started = runs.ours("w7") if name == VERTEBRA else runs.theirs(name, Hand("hand-approval", (INPUT,)))
        found.append(await started)
    if name == VERTEBRA:
        while not await pending(stage.api, found[-1].id):  # noqa: ASYNC110  # rows ring no bell
            await asyncio.sleep(0.1)
    await asyncio.sleep(_SETTLE_S)
    return found
