"""The queries that append to the audit: sealed where the key is held, checked against the head by the database."""

from __future__ import annotations

from collections.abc import Sequence

from vertebra.audit.chain import MacKey, admin_stream, seal_all
from vertebra.schemas.audit import Entry, Head, Sealed
from vertebra.schemas.ids import Tenant
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row


def append_query(entries: Sequence[Entry], head: Head, key: MacKey) -> Query:
    """Append entries, at least one, after `head`, which the same transaction read under the lock of its row.

    Raises NotCanonical; when it runs, AuditRefused if the head is not where the writer saw it.
    """
    return sealed_query(seal_all(entries, head, key))


def sealed_query(sealed: Sequence[Sealed]) -> Query:
    """Append entries that are sealed already, all of one stream and one key."""
    first = sealed[0]
    name = "append_stream" if "/" in first.stream else "append_run"
    params = {
        "stream": first.stream,
        "seq": first.seq - 1,
        "prev_hash": first.prev_hash,
        "bodies": [entry.body for entry in sealed],
        "hashes": [entry.hash for entry in sealed],
        "macs": [entry.mac for entry in sealed],
        "key_id": first.key_id,
    }
    return Query(name, named("audit", name), params)


def admin_head_query(tenant: Tenant) -> Query:
    """Lock and read the head of the tenant's own stream, opening it if it is new."""
    return Query("stream_head", named("audit", "stream_head"), {"stream": admin_stream(tenant), "tenant": tenant})


def admin_head(row: Row, tenant: Tenant) -> Head:
    """The head that `admin_head_query` gave."""
    return Head(stream=admin_stream(tenant), seq=row["seq"], hash=bytes(row["hash"]))
