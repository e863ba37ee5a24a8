"""Runs whose execution ended without telling: terminated, timed out, cancelled or deleted by Temporal's own tools."""

from __future__ import annotations

import structlog
from structlog.typing import FilteringBoundLogger
from temporalio.service import RPCError

from vertebra.activities import entries
from vertebra.client.connection import AWAY
from vertebra.schemas.call import CallError
from vertebra.schemas.run import RunEnd
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, once, transaction
from vertebra.workers.keeper import executions, loss
from vertebra.workers.keeper.duty import BATCH, Duty, Office
from vertebra.workers.keeper.executions import Standing

GONE = "Temporal holds no execution of this run any more"

_log: FilteringBoundLogger = structlog.get_logger("vertebra.keeper")


async def do(office: Office) -> int:
    """Ask about open runs that nothing touched for a minute, and close those that are dead. Raises RPCError."""
    params = {"untouched_s": office.times.untouched_s, "limit": BATCH}
    [rows] = await once(office.world.pool, [Query("claim_untouched", named("keeper", "claim_untouched"), params)])
    for row in rows:
        try:
            await _look(office, row)
        except RPCError as error:
            if error.status in AWAY:
                raise  # any other failure is about one run, and must not keep the others waiting
            _log.warning("a run could not be asked about", run=row["id"], error=str(error))
    return len(rows)


async def _look(office: Office, row: Row) -> None:
    found = await executions.standing(office.client, row["id"], row["chain"], row["execution_id"])
    if found.lives:
        await _note_execution(office, row, found)
    else:
        await close_unseen(office, row, found)


async def close_unseen(office: Office, asked: Row, found: Standing) -> bool:
    """Close the row of a run that Temporal says is dead. `asked` is the row (id, epoch, chain) that was asked about.

    False: it was closed or resumed meanwhile, or somebody is at work on it.
    """
    run = asked["id"]
    end, why = await _told(office, run, found)
    world = office.world
    async with transaction(world.pool, "keeper_unseen") as opened:
        lock = Query("lock_run", named("keeper", "lock_run"), {"run": run})
        heads, attempts, doubtful = await opened.trip([lock, *loss.reads(run)])
        if not heads or heads[0]["ended_at"] is not None or not _same(heads[0], asked):
            return False
        lost = loss.lost(heads[0], attempts, doubtful, f"its run was {end}", world)
        ended = entries.event(
            world,
            "run_end",
            "temporal",
            run=heads[0],
            outcome=end,
            success=end == "completed",
            error=why or None,
            spine=heads[0]["graph"],
        )
        [[closed], *_] = await opened.commit(
            [*_closing(run, end, why), *lost.writes, *entries.append(heads[0], [*lost.told, ended], world)]
        )
    world.watch.ended(closed["graph"], end, closed["seconds"])
    _log.warning("a run ended unseen", run=run, end=end, why=why)
    return True


async def _told(office: Office, run: str, found: Standing) -> tuple[RunEnd, str]:
    """How the run ended, and what Temporal says about it."""
    if found.mine is None:
        return "terminated", GONE
    return found.mine.end or "terminated", await executions.why(office.client, run, found.mine)


def _same(head: Row, asked: Row) -> bool:
    return bool((head["epoch"], head["chain"]) == (asked["epoch"], asked["chain"]))


def _closing(run: str, end: RunEnd, why: str) -> list[Query]:
    error = None if end == "completed" else CallError(type=end.capitalize(), message=why or f"{end} by Temporal")
    row = {
        "run": run,
        "state": end,
        "output": None,
        "output_artifact": None,
        "error": None if error is None else error.model_dump_json().encode(),
    }
    return [
        Query("end_run", named("steps", "end_run"), row),
        Query("withdraw_approvals", named("steps", "withdraw_approvals"), {"run": run}),
        Query("clear_waits", named("steps", "clear_waits"), {"run": run, "refs": []}),
        Query("done_wake", named("steps", "done_wake"), {"run": run, "refs": None}),
    ]


async def _note_execution(office: Office, row: Row, found: Standing) -> None:
    """A reset by other hands made another execution of the same chain: note it, for looking."""
    if found.mine is not None and found.mine.id != row["execution_id"]:
        params = {"run": row["id"], "execution_id": found.mine.id}
        await once(office.world.pool, [Query("touch_execution", named("steps", "touch_execution"), params)])


UNSEEN = Duty("unseen", do, lambda times: times.unseen_s)
