"""Envelopes of what the engine decided, written once each however often a step is repeated."""

from __future__ import annotations

from collections.abc import Sequence

from vertebra.schemas.call import Note
from vertebra.schemas.canonical import digest_of
from vertebra.schemas.envelope import Envelope, of_note
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row


def envelope_query(tenant: str, envelope: Envelope) -> Query:
    """Append an envelope to its run. Its digest makes a repeat harmless."""
    body = _body(envelope)
    row = {
        "tenant": tenant,
        "run": envelope.run,
        "node": envelope.node,
        "visit": envelope.visit,
        "kind": envelope.kind,
        "body": body,
        "digest": digest_of(body),
    }
    return Query("put_envelope", named("gate", "put_envelope"), row)


def known_query(run: str, graph: CompiledGraph, notes: Sequence[Note]) -> Query:
    """Which of these notes are written already; to be read under the lock of the run's row."""
    digests = [digest_of(_body(of_note(run, graph.name, graph.version, note))) for note in notes]
    return Query("known_envelopes", named("gate", "known_envelopes"), {"run": run, "digests": digests})


def withdrawals(run: str, notes: Sequence[Note]) -> list[Query]:
    """Nobody is to decide for nodes that were cancelled; harmless to repeat."""
    places = dict.fromkeys(
        (note.node, note.visit) for note in notes if (note.kind, note.status) == ("task", "cancelled")
    )
    return [
        Query("withdraw_visit", named("gate", "withdraw_visit"), {"run": run, "node": node, "visit": visit})
        for node, visit in places
    ]


def unwritten(
    run: str, graph: CompiledGraph, notes: Sequence[Note], known: Sequence[Row]
) -> list[tuple[Note, Envelope]]:
    """The notes that `known_query` did not find, each once, with their envelopes."""
    seen = {str(row["digest"]) for row in known}
    found = []
    for note in notes:
        envelope = of_note(run, graph.name, graph.version, note)
        digest = digest_of(_body(envelope))
        if digest not in seen:
            seen.add(digest)
            found.append((note, envelope))
    return found


def _body(envelope: Envelope) -> bytes:
    return envelope.model_dump_json(exclude_defaults=True).encode()
