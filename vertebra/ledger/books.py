"""A run's books as its row holds them, read by every statement that locks that row: limits, spent, held, audit head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, cast

from vertebra.schemas.audit import Head
from vertebra.schemas.ids import RunId, Tenant
from vertebra.schemas.money import MicroUSD
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row

Figure: TypeAlias = Mapping[str, int]
Counters: TypeAlias = Mapping[str, Mapping[str, Figure]]
"""Settled calls of the scope `run`: count, sum, max and last of each figure. Agents' and nodes' are in `counters`."""

AGGREGATES = ("sum", "max", "last", "count")
MEASURES = {"tokens": "tokens", "microusd": "cost_usd", "latency_ms": "latency_ms", "visits": "visits"}
"""A figure of the counters, and what expressions call it."""


@dataclass(frozen=True, slots=True)
class Books:
    """The row of a run as one statement saw it, after its own change."""

    run: RunId
    tenant: Tenant
    state: str
    epoch: int
    ended_at: datetime | None
    correlation_id: str
    head: Head
    limit_microusd: MicroUSD | None
    limit_tokens: int | None
    on_breach: Literal["reject", "pause", "abort"]
    spent_microusd: MicroUSD
    spent_tokens: int
    held_microusd: MicroUSD
    held_tokens: int
    counters: Counters

    @property
    def left_microusd(self) -> MicroUSD | None:
        """What may still be reserved, None without a limit; negative after an overrun."""
        if self.limit_microusd is None:
            return None
        return MicroUSD(self.limit_microusd - self.spent_microusd - self.held_microusd)

    @property
    def left_tokens(self) -> int | None:
        """The same in tokens."""
        return None if self.limit_tokens is None else self.limit_tokens - self.spent_tokens - self.held_tokens


def books_of(row: Row) -> Books:
    """The books that any statement of this ledger returned."""
    return Books(
        run=RunId(row["id"]),
        tenant=Tenant(row["tenant"]),
        state=row["state"],
        epoch=row["epoch"],
        ended_at=row["ended_at"],
        correlation_id=row["correlation_id"],
        head=Head.model_construct(stream=row["id"], seq=row["audit_seq"], hash=bytes(row["audit_hash"])),
        limit_microusd=row["limit_microusd"],
        limit_tokens=row["limit_tokens"],
        on_breach=row["on_breach"],
        spent_microusd=row["spent_microusd"],
        spent_tokens=row["spent_tokens"],
        held_microusd=row["held_microusd"],
        held_tokens=row["held_tokens"],
        counters=cast("Counters", row["counters"]),
    )


def head_query(run: RunId) -> Query:
    """Lock the run's row and read it, for a transaction that only writes audit. No row: there is no such run."""
    return Query("head", named("ledger", "head"), {"run": run})


def books_query(run: RunId) -> Query:
    """Read without a lock."""
    return Query("books", named("ledger", "books"), {"run": run})


def telemetry(books: Books) -> dict[str, int | float]:
    """The settled values that guardrails and policy rules may name: `sum_tokens`, `max_latency_ms`, `last_cost_usd`, ..

    Every name is there from the start, as 0. `count_X` is how many calls were settled with a figure X.
    """
    counters = books.counters.get("run", {})
    values: dict[str, int | float] = {}
    for figure, name in MEASURES.items():
        found = counters.get(figure)
        known: Figure = found if isinstance(found, Mapping) else {}
        for aggregate in AGGREGATES:
            value = known.get(aggregate, 0)
            values[f"{aggregate}_{name}"] = (
                value / 1_000_000 if figure == "microusd" and aggregate != "count" else value
            )
    return values
