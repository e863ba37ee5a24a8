"""Wake runs for what was signed, again and again until they have consumed it: a lost signal loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from structlog.typing import FilteringBoundLogger

from vertebra.store.queries import named
from vertebra.store.transaction import Query, once
from vertebra.workers.keeper import executions
from vertebra.workers.keeper.duty import BATCH, Duty, Office

AT_ONCE = 10
SETTLED = 1000
"""Of one pass: all that anybody could write at once would take longer than a statement may."""

_log: FilteringBoundLogger = structlog.get_logger("vertebra.keeper")


async def do(office: Office) -> int:
    """Send the wakes that are due. A run that Temporal does not hold is the business of `unseen`."""
    settle = Query("settle_wakes", named("keeper", "settle_wakes"), {"limit": SETTLED})
    claim = Query("claim_wakes", named("keeper", "claim_wakes"), {"limit": BATCH})
    [settled, rows] = await once(office.world.pool, [settle, claim])
    await send(office, sorted({row["run"] for row in rows if row["run"] is not None}))
    return len(settled) + len(rows)


async def send(office: Office, runs: Sequence[str]) -> None:
    """One signal per run. What fails comes up again with its row; raises RPCError where nothing got through."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(run: str) -> None:
        async with slots:
            await executions.wake(office, run)

    results = await asyncio.gather(*(one(run) for run in runs), return_exceptions=True)
    failed = [(run, result) for run, result in zip(runs, results, strict=True) if result is not None]
    for run, error in failed:
        _log.warning("a run could not be woken", run=run, error=str(error))
    if failed and len(failed) == len(runs):
        raise failed[0][1]


WAKE = Duty("wake", do, lambda times: times.wake_s)
