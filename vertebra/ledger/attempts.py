"""Reserve before a call, settle once after it: one UPDATE of the run's row each, which gives the audit head.

The gate sends these in its own transactions. Order of locks: the run's row, then attempts and commands; nobody takes
them the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from psycopg.types.json import Jsonb

from vertebra.schemas.canonical import Digest
from vertebra.schemas.ids import CallId, RunId, Tenant
from vertebra.schemas.money import MicroUSD
from vertebra.store.queries import named
from vertebra.store.transaction import Query

Ending = Literal["settled", "released", "unknown"]


@dataclass(frozen=True, slots=True)
class AttemptId:
    """One try of a call that left the gate."""

    run: RunId
    call: CallId
    n: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt cost. `figures` feed the counters of run and `scopes`; `raw_usage` is the vendor's own JSON."""

    microusd: MicroUSD
    tokens: int
    estimated: bool = False
    raw_usage: bytes | None = None
    scopes: tuple[str, ...] = ()
    """`agent/NAME`, `node/PATH`."""
    figures: Mapping[str, int] | None = None
    """Figure to value, such as `tokens`, `microusd`, `latency_ms`; None counts nothing."""


def reserve_query(run: RunId, microusd: MicroUSD, tokens: int) -> Query:
    """Hold an upper bound. One row: the books after it. No row: refused; `head_query` then tells why."""
    return Query("reserve", named("ledger", "reserve"), {"run": run, "microusd": microusd, "tokens": tokens})


def open_attempt_query(
    attempt: AttemptId,
    microusd: MicroUSD,
    tokens: int,
    *,
    tenant: Tenant,
    execution_id: str,
    worker: str,
    price_digest: Digest | None = None,
    opened_by: str | None = None,
) -> Query:
    """The row that holds a reservation, in the transaction that made it. Conflict: this attempt exists."""
    params = {
        "tenant": tenant,
        "call": attempt.call,
        "n": attempt.n,
        "run": attempt.run,
        "execution_id": execution_id,
        "worker": worker,
        "microusd": microusd,
        "tokens": tokens,
        "price_digest": price_digest,
        "opened_by": opened_by,
    }
    return Query("open_attempt", named("ledger", "open_attempt"), params)


def lose_attempts_query(attempt: AttemptId) -> Query:
    """Mark every other held attempt of the call unknown; in the transaction of this attempt's intent."""
    return Query("lose_attempts", named("ledger", "lose_attempts"), {"call": attempt.call, "n": attempt.n})


def settle_query(
    attempt: AttemptId, settlement: Settlement, *, error_class: str | None = None, counts: bool = False
) -> Query:
    """Turn the reservation into what it cost. One row: the books, and `ended`, False if it had ended before."""
    return _end(attempt, "settled", settlement, error_class, counts)


def release_query(attempt: AttemptId, *, error_class: str | None = None, counts: bool = False) -> Query:
    """Give the reservation back: the call was not made, or cost nothing for certain. The row as of `settle_query`."""
    return _end(attempt, "released", None, error_class, counts)


def unknown_query(attempt: AttemptId, *, error_class: str = "lost", counts: bool = False) -> Query:
    """Nobody knows what happened: the reservation stays held until it is settled or released. The row as above."""
    return _end(attempt, "unknown", None, error_class, counts)


def top_up_query(run: RunId, command: str, microusd: MicroUSD, tokens: int) -> Query:
    """Raise the limits once per command. One row: the books, and `applied`, False if this command had been applied."""
    params = {"run": run, "command": command, "microusd": microusd, "tokens": tokens}
    return Query("top_up", named("ledger", "top_up"), params)


def held_query(run: RunId) -> Query:
    """What the run still holds, and for which calls."""
    return Query("held", named("ledger", "held"), {"run": run})


def check_books_query(run: RunId | None = None) -> Query:
    """Runs, or this one, whose books differ from the sum of their attempts. No row: all exact."""
    return Query("check_books", named("ledger", "check_books"), {"run": run})


def _end(
    attempt: AttemptId, state: Ending, settlement: Settlement | None, error_class: str | None, counts: bool
) -> Query:
    figures = settlement.figures if settlement else None
    params = {
        "run": attempt.run,
        "call": attempt.call,
        "n": attempt.n,
        "state": state,
        "class": error_class,
        "counts": counts,
        "microusd": settlement.microusd if settlement else None,
        "tokens": settlement.tokens if settlement else None,
        "estimated": settlement.estimated if settlement else False,
        "raw_usage": settlement.raw_usage if settlement else None,
        "scopes": list(settlement.scopes) if settlement else [],
        "figures": Jsonb(dict(figures)) if figures is not None else None,
    }
    return Query("end_attempt", named("ledger", "end_attempt"), params)
