"""Attempts that hold money long after they must have ended: what Temporal says nobody does any more is `unknown`.

Nothing is released here: only an outcome, or a person who found out, may give money back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog
from structlog.typing import FilteringBoundLogger
from temporalio.service import RPCError

from vertebra.activities import entries
from vertebra.client.connection import AWAY
from vertebra.schemas.errors import NotFound
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, once, transaction
from vertebra.workers.keeper import executions, loss
from vertebra.workers.keeper.duty import BATCH, Duty, Office

UNKNOWN_TIMEOUT_S = 120
"""Of a node that the published graph does not name."""

_log: FilteringBoundLogger = structlog.get_logger("vertebra.keeper")


async def do(office: Office) -> int:
    """Look at what is held for too long, run by run. Raises RPCError."""
    params = {"older_s": office.times.patience, "limit": BATCH}  # no node's timeout is under a second
    [rows] = await once(office.world.pool, [Query("held_long", named("keeper", "held_long"), params)])
    overdue = [row for row in rows if row["now"] - row["started_at"] > await _patience(office, row)]
    lost = 0
    for run in sorted({row["run"] for row in overdue}):
        try:
            lost += await _of_run(office, [row for row in overdue if row["run"] == run])
        except RPCError as error:
            if error.status in AWAY:
                raise  # any other failure is about one run, and must not keep the others waiting
            _log.warning("a run could not be asked about", run=run, error=str(error))
    return lost


async def _patience(office: Office, row: Row) -> timedelta:
    try:
        node = (await office.world.graph(row["graph_digest"])).nodes.get(row["node"])
    except NotFound:
        node = None
    return timedelta(seconds=office.times.patience * (node.timeout_s if node else UNKNOWN_TIMEOUT_S))


async def _of_run(office: Office, rows: Sequence[Row]) -> int:
    run, ended = rows[0]["run"], rows[0]["ended_at"] is not None
    pending: frozenset[str] = frozenset()
    if not ended:
        found = await executions.standing(office.client, run, rows[0]["chain"], rows[0]["execution_id"])
        if found.mine is None or not found.lives:
            return 0  # `unseen` closes the run, and holds what it left
        pending = found.mine.pending
    gone = [row for row in rows if row["activity_id"] not in pending]
    why = "its run has ended" if ended else "its activity is no longer pending"
    return await _lose(office, run, gone, why) if gone else 0


async def _lose(office: Office, run: str, gone: Sequence[Row], why: str) -> int:
    """Exactly these attempts: a later one of the same call may be on its way."""
    asked = {(row["call"], row["n"]) for row in gone}
    async with transaction(office.world.pool, "keeper_orphans") as opened:
        lock = Query("lock_run", named("keeper", "lock_run"), {"run": run})
        heads, held, doubtful = await opened.trip([lock, *loss.reads(run, [row["call"] for row in gone])])
        attempts = [row for row in held if (row["call"], row["n"]) in asked]
        calls = {row["call"] for row in attempts}
        if not heads or not attempts:
            return 0
        lost = loss.lost(heads[0], attempts, [row for row in doubtful if row["id"] in calls], why, office.world)
        await opened.commit([*lost.writes, *entries.append(heads[0], lost.told, office.world)])
        return len(attempts)


ORPHANS = Duty("orphans", do, lambda times: times.orphans_s)
