"""Attempts that nobody will report any more: their money stays held, and what may have happened is put in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vertebra.activities.world import World
from vertebra.ledger.attempts import AttemptId, unknown_query
from vertebra.schemas.audit import Entry, timestamp
from vertebra.schemas.call import CallError
from vertebra.schemas.graph import REPEATABLE
from vertebra.schemas.ids import CallId, RunId
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row
from vertebra.workers.gate.audit import OPERATIONS


@dataclass(frozen=True, slots=True)
class Loss:
    """What is to be written, in the transaction that locked the run's row."""

    writes: tuple[Query, ...]
    told: tuple[Entry, ...]


def reads(run: str, calls: Sequence[str] | None = None) -> tuple[Query, Query]:
    """What may be lost: of all calls of the run, or of the listed ones. Sent behind the lock of the run's row."""
    listed = None if calls is None else list(calls)
    doubtful = {"run": run, "calls": listed, "repeatable": list(REPEATABLE)}
    return (
        Query("held_attempts", named("keeper", "held_attempts"), {"run": run, "calls": listed}),
        Query("doubtful_calls", named("keeper", "doubtful_calls"), doubtful),
    )


def lost(run: Row, attempts: Sequence[Row], doubtful: Sequence[Row], why: str, world: World) -> Loss:
    """Attempts become `unknown`, and so do calls that may not be repeated under their own key."""
    ended = [unknown_query(AttemptId(RunId(run["id"]), CallId(row["call"]), row["n"])) for row in attempts]
    marked = [
        Query("mark_unknown", named("gate", "mark_unknown"), {"id": row["id"], "error": _doubt(row, why)})
        for row in doubtful
    ]
    return Loss((*ended, *marked), tuple(_entry(run, row, why, world) for row in attempts))


def _doubt(row: Row, why: str) -> bytes:
    error = CallError(
        type="UnknownOutcome",
        message=f"an attempt left and never reported ({why}); it may have happened",
        node=row["node"],
        visit=row["visit"],
        do="find out; then `vertebra override` if it happened, `vertebra retry` if it did not",
    )
    return error.model_dump_json(exclude_defaults=True).encode()


def _entry(run: Row, row: Row, why: str, world: World) -> Entry:
    """The outcome that the intent still lacks."""
    return Entry(
        time=timestamp(world.now()),
        operation=OPERATIONS.get(row["kind"], row["kind"]),
        phase="outcome",
        actor="keeper",
        outcome="unknown",
        success=False,
        run=run["id"],
        node=row["node"],
        visit=row["visit"],
        activity=row["activity_id"],
        call=row["call"],
        attempt=row["n"],
        context=row["context"],
        error=why,
        correlation_id=run["correlation_id"],
        detail={"held_microusd": row["reserved_microusd"], "held_tokens": row["reserved_tokens"]},
    )
