"""W5: many runs of W1 at once, with the worker in a process of its own; runs a second, and processor time of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import WorkflowHandle

from bench import others
from bench.measure import Spread, spread
from bench.processes import cpu_s, tree, worker
from bench.project import INPUT, SEQUENCE
from bench.shapes import BOOKED, PLAIN, VERTEBRA, Hand, Runs
from bench.stage import Stage

WARM_UP = 20
AT_ONCE = 50
"""Starts in flight at a time; all runs are open together."""
GOAL = 0.85


@dataclass(frozen=True)
class Crowd:
    """One crowd of one contestant."""

    runs: int
    seconds: float
    cpu_ms: dict[str, float]
    """Of one run, by who spent it: worker, server, database."""

    @property
    def per_second(self) -> float:
        return self.runs / self.seconds


async def crowds(stage: Stage, folder: Path, runs: int, rounds: int) -> dict[str, list[Crowd]]:
    """Contestants take turns, each with a fresh worker process."""
    found: dict[str, list[Crowd]] = {}
    for _ in range(rounds):
        for name in (VERTEBRA, PLAIN, BOOKED):
            found.setdefault(name, []).append(await _with_worker(stage, folder, name, runs))
        for name, rival in others.found().items():
            found.setdefault(name, []).append(await _apart(stage, rival, runs))
    return found


def ratio(found: dict[str, list[Crowd]], rival: str) -> Spread:
    """Vertebra's throughput to a rival's, round by round."""
    pairs = zip(found[VERTEBRA], found[rival], strict=True)
    return spread(one.per_second / other.per_second for one, other in pairs)


async def _with_worker(stage: Stage, folder: Path, name: str, runs: int) -> Crowd:
    started = Runs(stage)
    hand = Hand("hand-sequence", (INPUT, SEQUENCE))

    async def one() -> WorkflowHandle[object, object]:
        return await (started.ours("w1") if name == VERTEBRA else started.theirs(name, hand))

    async with worker(name, folder) as pid:
        await _all_at_once(one, WARM_UP)
        before = _spent(stage, pid)
        began = time.perf_counter()
        await _all_at_once(one, runs)
        took = time.perf_counter() - began
        return Crowd(runs, took, _per_run(before, _spent(stage, pid), runs))


async def _all_at_once(one: Callable[[], Awaitable[WorkflowHandle[object, object]]], runs: int) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def started() -> WorkflowHandle[object, object]:
        async with gate:
            return await one()

    handles = await asyncio.gather(*(started() for _ in range(runs)))
    await asyncio.gather(*(handle.result() for handle in handles))


async def _apart(stage: Stage, rival: others.Other, runs: int) -> Crowd:
    """A contestant without Temporal: its process does everything."""
    async with rival.process(stage.services) as process:
        await process.crowd(WARM_UP)
        before = _spent(stage, process.pid)
        took = await process.crowd(runs)
        return Crowd(runs, took, _per_run(before, _spent(stage, process.pid), runs))


def _spent(stage: Stage, pid: int) -> dict[str, float]:
    pids = stage.services.pids
    return {
        "worker": cpu_s(tree(pid)),
        "server": cpu_s(tree(pids["temporal"])),
        "database": cpu_s(tree(pids["postgres"])),
    }


def _per_run(before: dict[str, float], after: dict[str, float], runs: int) -> dict[str, float]:
    return {who: (after[who] - before[who]) * 1000 / runs for who in before}
