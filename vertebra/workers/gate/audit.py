"""The record: an intent before every effect and an outcome after it, in the same transactions. No entry, no call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vertebra.activities.entries import note_entry
from vertebra.activities.envelopes import envelope_query, known_query, unwritten, withdrawals
from vertebra.activities.world import World
from vertebra.audit.append import append_query
from vertebra.ledger.books import books_of
from vertebra.schemas.audit import Content, Detail, Entry, Phase, timestamp
from vertebra.schemas.call import Note
from vertebra.schemas.envelope import Envelope
from vertebra.store.transaction import Query, Row
from vertebra.workers.gate import journal
from vertebra.workers.gate.element import Denied, Element, GateCall, Held, Seen, Settled

OPERATIONS = {"llm": "llm_call", "tool": "tool_execution", "http": "http_request", "code": "code_execution"}


def reads(call: GateCall) -> Sequence[Query]:
    """Which of the engine's notes are written already."""
    return (known_query(call.run, call.graph, call.given.notes),) if call.given.notes else ()


def writes(call: GateCall, seen: Seen, world: World) -> Sequence[Query]:
    """The intent, after what the engine decided since the last call and the outcome of attempts that never reported."""
    intent = _entry(call, "intent", seen.attempt, world.now(), input=_content(call))
    return noted(call, seen, seen.books[0], [*_lost(call, journal.lost(seen), world), intent], world)


def noted(call: GateCall, seen: Seen, books: Row, then: Sequence[Entry], world: World) -> Sequence[Query]:
    """What the engine decided since the last call, and `then` these entries: one append."""
    fresh = unwritten_notes(call, seen)
    told = [note_entry(note, call.run, call.correlation_id, call.graph.name, world.now()) for note, _ in fresh]
    envelopes = [envelope_query(call.tenant, envelope) for _, envelope in fresh]
    return *envelopes, *withdrawals(call.run, call.given.notes), _append(books, [*told, *then], world)


def unwritten_notes(call: GateCall, seen: Seen) -> list[tuple[Note, Envelope]]:
    """The notes that came with this call and are not written."""
    if not call.given.notes:
        return []
    return unwritten(call.run, call.graph, call.given.notes, seen.of("audit"))


def after(call: GateCall, settled: Settled, world: World) -> Sequence[Query]:
    """The outcome, with what it cost."""
    performed = settled.performed
    outcome = "late" if settled.late else {"again": "failed", "lost": "unknown"}.get(performed.status, performed.status)
    entry = _entry(call, "outcome", settled.n, world.now()).model_copy(
        update={
            "outcome": outcome,
            "success": performed.status == "done",
            "output": Content.of(performed.output) if performed.output else None,
            "duration_ms": performed.duration_ms,
            "error": f"{performed.error.type}: {performed.error.message}" if performed.error else None,
            "cost_microusd": int(performed.microusd),
            "tokens": performed.tokens,
            "detail": {"estimated": performed.estimated},
        }
    )
    return (_append(settled.books, [entry], world),)


def refusal(call: GateCall, verdict: Held | Denied, books: Row, world: World) -> Query:
    """A call that was not made, and why."""
    held = isinstance(verdict, Held)
    reason = verdict.reason if isinstance(verdict, Held) else f"{verdict.error.type}: {verdict.error.message}"
    detail: dict[str, Detail] = {"by": verdict.by}
    if isinstance(verdict, Held):
        detail |= {"hold": verdict.hold.kind, "id": verdict.hold.id}
    entry = _entry(call, "event", None, world.now(), input=_content(call)).model_copy(
        update={
            "outcome": "held" if held else "denied",
            "success": False,
            "error": reason,
            "detail": detail,
        }
    )
    gone = verdict.lost if isinstance(verdict, Denied) else ()
    return _append(books, [*_lost(call, gone, world), entry], world)


def _lost(call: GateCall, attempts: Sequence[int], world: World) -> list[Entry]:
    """The outcome that their intents still lack."""
    why = {"outcome": "unknown", "success": False, "error": "the attempt never reported"}
    return [_entry(call, "outcome", n, world.now()).model_copy(update=why) for n in attempts]


def _append(row: Row, entries: Sequence[Entry], world: World) -> Query:
    return append_query(entries, books_of(row).head, world.audit_key)


def _content(call: GateCall) -> Content:
    return Content.of(call.prepared.request.decode())


def _entry(call: GateCall, phase: Phase, attempt: int | None, now: datetime, input: Content | None = None) -> Entry:
    prepared = call.prepared
    return Entry(
        time=timestamp(now),
        operation=OPERATIONS[prepared.kind],
        phase=phase,
        actor=call.agent or "spine",
        run=call.run,
        node=call.node.id,
        visit=call.given.visit,
        activity=call.activity_id,
        call=call.id,
        attempt=attempt,
        agent=call.agent or None,
        spine=call.graph.name,
        context=call.context,
        input=input,
        correlation_id=call.correlation_id,
        policy_version=call.graph.digest,
        tool_pin=prepared.tool_pin,
    )


ELEMENT = Element("audit", reads=reads, writes=writes, after=after)
