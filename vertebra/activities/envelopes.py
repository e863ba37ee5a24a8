"""The one statement that writes an envelope; a repeated step finds it written."""

from __future__ import annotations

from vertebra.schemas.canonical import digest_of
from vertebra.schemas.envelope import Envelope
from vertebra.store.queries import named
from vertebra.store.transaction import Query


def envelope_query(tenant: str, envelope: Envelope) -> Query:
    """Append an envelope to its run. Its digest makes a repeat harmless."""
    body = envelope.model_dump_json(exclude_defaults=True).encode()
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
