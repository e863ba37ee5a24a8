"""How an answer takes columns out of a row, and adds to a time that may not be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from vertebra.testing.rows import Row, Rows


def columns(row: Row, names: str, **more: Any) -> Row:
    """These columns of a row, and more that were made."""
    return {name: row[name] for name in names.split()} | more


def after(now: datetime, seconds: int | None) -> datetime | None:
    """So many seconds later; nothing where nothing is added."""
    return None if seconds is None else now + timedelta(seconds=seconds)


def one(row: Row | None) -> list[Row]:
    """No row or one."""
    return [] if row is None else [row]


def by_time(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["at"], row["id"]))


def open_runs(rows: Rows, run: str) -> list[Row]:
    """The run, while it has not ended."""
    return [row for row in one(rows.get("runs", run)) if row["ended_at"] is None]


def put_outbox(rows: Rows, params: Mapping[str, Any]) -> bool:
    """A row of the outbox; False where it stands already. A null run is as good as any other here."""
    key = (params["kind"], params["run"], params["ref"])
    row = {**params, "id": rows.serial(), "due_at": rows.now, "tries": 0, "done_at": None}
    return rows.add("outbox", key, row)
