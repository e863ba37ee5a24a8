"""The entries of the audit that fit what somebody asks, newest first, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.rows import TupleRow

from vertebra.audit.chain import admin_stream
from vertebra.audit.trace import Traced, traced
from vertebra.audit.verify import Stored
from vertebra.policies.fields import nearest
from vertebra.schemas.audit import OPERATIONS, timestamp
from vertebra.schemas.errors import BadInput
from vertebra.schemas.ids import Tenant
from vertebra.schemas.time_range import ALWAYS, TimeRange
from vertebra.store.pool import Connection
from vertebra.store.queries import named

MOST = 10_000
"""Entries of one page."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What entries must be; None does not matter."""

    operation: str | None = None
    success: bool | None = None
    agent: str | None = None
    node: str | None = None
    run: str | None = None
    correlation: str | None = None
    times: TimeRange = ALWAYS


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, and where the next page begins; None after the last."""

    entries: Sequence[Traced]
    next: str | None


async def query(connection: Connection, tenant: Tenant, asked: Filter, *, limit: int, after: str | None) -> Page:
    """One page. Entries that are appended meanwhile move no page. Raises BadInput, TamperedRow."""
    if asked.operation is not None:
        known_word("operation", asked.operation, OPERATIONS)
    if not 1 <= limit <= MOST:
        raise BadInput(f"a page has 1 to {MOST} entries", at="limit")
    params = {**_params(tenant, asked), **_place(after), "limit": limit + 1}
    cursor = await connection.execute(named("audit", "query"), params, binary=True)
    rows: list[TupleRow] = await cursor.fetchall()
    entries = [traced(Stored._make(row)) for row in rows[:limit]]
    return Page(entries, _named(entries[-1]) if len(rows) > limit else None)


def known_word(what: str, word: str, known: Sequence[str]) -> None:
    """Raises BadInput that lists the known words."""
    if word not in known:
        close = nearest(word, known) or ""
        hint = f"{close} " if close.startswith("did") else ""
        raise BadInput(f"no {what} is called {word!r}", do=f"{hint}known are: {', '.join(sorted(known))}")


def range_params(times: TimeRange) -> dict[str, str | None]:
    """The ends of a time range as entries hold their times."""
    ends = {"since": times.since, "until": times.until}
    return {name: None if at is None else timestamp(at) for name, at in ends.items()}


def _params(tenant: Tenant, asked: Filter) -> Mapping[str, object]:
    return {
        "tenant": tenant,
        "admin": admin_stream(tenant),
        **range_params(asked.times),
        "operation": asked.operation,
        "success": None if asked.success is None else str(asked.success).lower(),
        "agent": asked.agent,
        "node": asked.node,
        "run": asked.run,
        "correlation": asked.correlation,
    }


def _named(item: Traced) -> str:
    return f"{item.entry.time},{item.seq},{item.stream}"


def _place(after: str | None) -> Mapping[str, object]:
    if after is None:
        return {"time": None, "seq": None, "stream": None}
    time, _, rest = after.partition(",")
    seq, _, stream = rest.partition(",")
    if not (stream and seq.isdecimal() and len(seq) < 19):
        raise BadInput(f"{after!r} is no place in the audit", at="after", do="take it from the page before: its `next`")
    return {"time": time, "seq": int(seq), "stream": stream}
