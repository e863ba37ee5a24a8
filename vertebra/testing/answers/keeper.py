"""`store/sql/keeper.sql` over rows in memory, as far as reminders, escalation and expiry use it."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.testing.answers import taken
from vertebra.testing.answers.ledger import BOOKS
from vertebra.testing.answers.taken import columns, one
from vertebra.testing.rows import Answer, Params, Row, Rows


def lock_run(rows: Rows, p: Params) -> list[Row]:
    wanted = BOOKS + " chain execution_id resume_command graph version graph_digest input input_artifact"
    return [columns(row, wanted, reviving=_reviving(rows, row)) for row in one(rows.get("runs", p["run"]))]


def approval(rows: Rows, p: Params) -> list[Row]:
    wanted = "id node visit assign backup remind reminded escalate_after state"
    found = one(rows.get("approvals", p["id"]))
    return [columns(row, wanted, now=rows.now, overdue=_overdue(rows, row)) for row in found]


def due_reminders(rows: Rows, p: Params) -> list[Row]:
    pending = sorted(rows.of("approvals", state="pending"), key=lambda row: row["at"])
    return [columns(row, "id run") for row in pending if row["reminded"] < _passed(rows, row)][: p["limit"]]


def count_reminders(rows: Rows, p: Params) -> None:
    for _ in rows.of("approvals", id=p["id"], state="pending"):
        rows.change("approvals", (p["id"],), reminded=p["reminded"])


def due_expiries(rows: Rows, p: Params) -> list[Row]:
    overdue = [row for row in rows.of("approvals", state="pending") if _overdue(rows, row)]
    open_ = {row["id"] for row in rows.of("runs", ended_at=None)}
    due = sorted((row for row in overdue if row["run"] in open_), key=lambda row: row["expires_at"])
    return [columns(row, "id run") for row in due[: p["limit"]]]


def put_wake(rows: Rows, p: Params) -> None:
    taken.put_outbox(rows, {**p, "kind": "wake"})


def _reviving(rows: Rows, run: Row) -> bool:
    ref = f"command/{run['resume_command']}"
    return bool(rows.of("outbox", kind="resume", run=run["id"], ref=ref, done_at=None))


def _overdue(rows: Rows, row: Row) -> bool:
    """Pending past its time, and nothing was signed in time that the run has not judged."""
    ends = row["expires_at"]
    if row["state"] != "pending" or ends is None or ends > rows.now:
        return False
    return not any(said["at"] < ends for said in rows.of("decisions", approval=row["id"], consumed_at=None))


def _passed(rows: Rows, row: Row) -> int:
    times = [*row["remind"], *([row["escalate_after"]] if row["escalate_after"] else [])]
    return sum(at <= rows.now for at in times)


ANSWERS: Mapping[str, Answer] = {
    "lock_run": lock_run,
    "approval": approval,
    "due_reminders": due_reminders,
    "count_reminders": count_reminders,
    "due_expiries": due_expiries,
    "put_wake": put_wake,
}
