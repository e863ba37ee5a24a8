"""Audit entries of the recorded steps, appended at the head that the same transaction locked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vertebra.activities.envelopes import envelope_query, known_query, unwritten, withdrawals
from vertebra.activities.world import World
from vertebra.audit.append import admin_head, admin_head_query, append_query
from vertebra.ledger.books import books_of
from vertebra.schemas.audit import Content, Detail, Entry, timestamp
from vertebra.schemas.call import Note
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import Tenant
from vertebra.store.transaction import Query, Row, Transaction, transaction


def event(
    world: World,
    operation: str,
    actor: str,
    *,
    run: Row | None = None,
    node: str | None = None,
    visit: int | None = None,
    outcome: str | None = None,
    success: bool | None = True,
    error: str | None = None,
    content: str | None = None,
    spine: str | None = None,
    **detail: Detail,
) -> Entry:
    """An entry that is neither intent nor outcome of an effect. `run` is the run's row."""
    return Entry(
        time=timestamp(world.now()),
        operation=operation,
        phase="event",
        actor=actor,
        run=None if run is None else run["id"],
        node=node,
        visit=visit,
        outcome=outcome,
        success=success,
        error=error,
        spine=spine,
        input=None if content is None else Content.of(content),
        correlation_id=None if run is None else run["correlation_id"],
        detail=detail,
    )


def append(books: Row, entries: Sequence[Entry], world: World) -> tuple[Query, ...]:
    """Append to a run's stream after the head in `books`; nothing for no entries."""
    return (append_query(entries, books_of(books).head, world.audit_key),) if entries else ()


async def notes(
    opened: Transaction, noted: Sequence[Note], books: Row, graph: CompiledGraph, world: World
) -> tuple[list[Query], list[Entry]]:
    """Envelopes and entries of what the engine decided since the last call, without those that are written."""
    if not noted:
        return [], []
    [known] = await opened.trip([known_query(books["id"], graph, noted)])
    fresh = unwritten(books["id"], graph, noted, known)
    told = [note_entry(note, books["id"], books["correlation_id"], graph.name, world.now()) for note, _ in fresh]
    envelopes = [envelope_query(books["tenant"], envelope) for _, envelope in fresh]
    return [*envelopes, *withdrawals(books["id"], noted)], told


def note_entry(note: Note, run: str, correlation_id: str, graph: str, now: datetime) -> Entry:
    """The entry of one note, whoever writes it."""
    return Entry(
        time=timestamp(now),
        operation="edge_taken" if note.kind == "plan" else "node_ended",
        phase="event",
        actor="engine",
        run=run,
        node=note.node,
        visit=note.visit,
        spine=graph,
        correlation_id=correlation_id,
        outcome=note.status,
        success=note.status in ("succeeded", "overridden"),
        detail={"next": ", ".join(note.next), "branch": note.branch, **_joined(note)},
    )


def _joined(note: Note) -> dict[str, Detail]:
    """Of a join that did not wait for all: whose branches it took, and what it cancelled."""
    found = note.result if note.kind == "plan" else None
    if not isinstance(found, dict) or "join" not in found:
        return {}
    texts = {name: found[name] for name in ("from", "cancelled")}
    return {name: ", ".join(map(str, places)) for name, places in texts.items() if isinstance(places, list)}


async def tell_admin(world: World, tenant: str, entries: Sequence[Entry]) -> None:
    """Append to the tenant's own stream, for what belongs to no run."""
    async with transaction(world.pool, "tell_admin") as opened:
        [[row]] = await opened.trip([admin_head_query(Tenant(tenant))])
        await opened.commit([append_query(entries, admin_head(row, Tenant(tenant)), world.audit_key)])
