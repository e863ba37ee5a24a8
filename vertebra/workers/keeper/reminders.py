"""Remind the people of an approval, and tell when their backups may decide: an entry and a log line, once each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import structlog
from structlog.typing import FilteringBoundLogger

from vertebra.activities import entries
from vertebra.schemas.audit import Entry, timestamp
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, once, transaction
from vertebra.workers.keeper import wake
from vertebra.workers.keeper.duty import BATCH, Duty, Office

What = Literal["approval_reminder", "approval_escalated"]

_log: FilteringBoundLogger = structlog.get_logger("vertebra.keeper")


async def do(office: Office) -> int:
    """Tell what is due. `approvals.reminded` counts the times that were told, reminders and escalation alike."""
    due = Query("due_reminders", named("keeper", "due_reminders"), {"limit": BATCH})
    [rows] = await once(office.world.pool, [due])
    told = [await _remind(office, row["run"], row["id"]) for row in rows]
    return sum(told)


def times_of(row: Row) -> list[tuple[datetime, What]]:
    """Every time at which somebody is to be told, in order; a reminder before an escalation of the same time."""
    reminders: list[tuple[datetime, What]] = [(at, "approval_reminder") for at in row["remind"]]
    if row["escalate_after"] is not None:
        reminders.append((row["escalate_after"], "approval_escalated"))
    return sorted(reminders, key=lambda time: time[0])


async def _remind(office: Office, run: str, approval: str) -> bool:
    async with transaction(office.world.pool, "keeper_reminders") as opened:
        lock = Query("lock_run", named("keeper", "lock_run"), {"run": run})
        shown = Query("approval", named("keeper", "approval"), {"id": approval})
        heads, [row] = await opened.trip([lock, shown])
        passed = [time for time in times_of(row) if time[0] <= row["now"]]
        new = passed[row["reminded"] :]
        if not heads or row["state"] != "pending" or not new:
            return False
        told = [_entry(office, heads[0], row, what, at) for at, what in new]
        count = {"id": approval, "reminded": len(passed)}
        await opened.commit(
            [
                Query("count_reminders", named("keeper", "count_reminders"), count),
                *entries.append(heads[0], told, office.world),
            ]
        )
    for _, what in new:
        office.world.watch.sent(what)
    await _say(office, run, row, new)
    return True


def _entry(office: Office, head: Row, row: Row, what: What, at: datetime) -> Entry:
    roles = row["assign"] if what == "approval_reminder" else row["backup"]
    return entries.event(
        office.world,
        what,
        "keeper",
        run=head,
        node=row["node"],
        visit=row["visit"],
        approval=row["id"],
        roles=", ".join(roles),
        due=timestamp(at),
    )


async def _say(office: Office, run: str, row: Row, new: Sequence[tuple[datetime, What]]) -> None:
    for _, what in new:
        roles = row["assign"] if what == "approval_reminder" else row["backup"]
        _log.warning(what.replace("_", " "), run=run, node=row["node"], approval=row["id"], roles=list(roles))
    if any(what == "approval_escalated" for _, what in new):
        await wake.send(office, [run])  # so that the run shows who may decide now


REMINDERS = Duty("reminders", do, lambda times: times.reminders_s)
