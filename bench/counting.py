"""Counts the runs of W1: ours, and both rivals'."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
from temporalio.client import WorkflowHandle

from bench.counts import History, Statistics, history_of, statistics_of
from bench.project import INPUT, SEQUENCE
from bench.shapes import BOOKED, PLAIN, VERTEBRA, Hand, Runs
from bench.stage import Stage
from vertebra.store.pool import Links

RUNS = 10
_Start = Callable[[], Awaitable[WorkflowHandle[object, object]]]


@dataclass(frozen=True)
class Counts:
    """What one run of W1 costs."""

    history: History
    commits: float
    flushes: float
    wal_bytes: float


async def counted(stage: Stage) -> dict[str, Counts]:
    """Per contestant, of a run that finds every cache warm."""
    runs = Runs(stage)
    hand = Hand("hand-sequence", (INPUT, SEQUENCE))
    owner = await psycopg.AsyncConnection.connect(stage.services.postgres_dsn, autocommit=True)
    async with owner:
        return {
            VERTEBRA: await _counted(lambda: runs.ours("w1"), owner, stage.world.pool),
            PLAIN: await _counted(lambda: runs.theirs(PLAIN, hand), owner, stage.rival_pool),
            BOOKED: await _counted(lambda: runs.theirs(BOOKED, hand), owner, stage.rival_pool),
        }


async def _counted(start: _Start, owner: psycopg.AsyncConnection, pool: Links) -> Counts:
    """The difference of many runs and few, since looking costs commits too."""
    handle = await start()
    await handle.result()
    few = await _spent(start, owner, pool, RUNS)
    more = (await _spent(start, owner, pool, 2 * RUNS)).since(few)
    return Counts(await history_of(handle), more.commits / RUNS, more.flushes / RUNS, more.wal_bytes / RUNS)


async def _spent(start: _Start, owner: psycopg.AsyncConnection, pool: Links, runs: int) -> Statistics:
    before = await statistics_of(owner, pool)
    for _ in range(runs):
        await (await start()).result()
    return (await statistics_of(owner, pool)).since(before)
