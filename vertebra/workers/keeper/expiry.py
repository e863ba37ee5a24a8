"""Approvals that nobody decided in time: they expire, on record, and their run is woken to go on without them."""

from __future__ import annotations

from vertebra.activities import entries
from vertebra.store.queries import named
from vertebra.store.transaction import Query, once, transaction
from vertebra.workers.keeper.duty import BATCH, Duty, Office


async def do(office: Office) -> int:
    """Expire what is due. A run that is being worked on is left for the next pass."""
    due = Query("due_expiries", named("keeper", "due_expiries"), {"limit": BATCH})
    [rows] = await once(office.world.pool, [due])
    expired = [await _expire(office, row["run"], row["id"]) for row in rows]
    return sum(expired)


async def _expire(office: Office, run: str, approval: str) -> bool:
    async with transaction(office.world.pool, "keeper_expiry") as opened:
        lock = Query("lock_run", named("keeper", "lock_run"), {"run": run})
        shown = Query("approval", named("keeper", "approval"), {"id": approval})
        heads, [row] = await opened.trip([lock, shown])
        if not heads or heads[0]["ended_at"] is not None or not row["overdue"]:
            return False
        told = entries.event(
            office.world,
            "approval_expired",
            "keeper",
            run=heads[0],
            node=row["node"],
            visit=row["visit"],
            outcome="expired",
            success=False,
            approval=approval,
        )
        wake = {"tenant": heads[0]["tenant"], "run": run, "ref": f"approval/{approval}"}
        await opened.commit(
            [
                Query("expire_approval", named("gate", "expire_approval"), {"id": approval}),
                Query("put_wake", named("keeper", "put_wake"), wake),
                *entries.append(heads[0], [told], office.world),
            ]
        )
        return True


EXPIRY = Duty("expiry", do, lambda times: times.expiry_s)
