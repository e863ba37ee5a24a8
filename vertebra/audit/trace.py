"""Everything that happened under one correlation id, over all its runs, in the order of time."""

from __future__ import annotations

import json
from dataclasses import dataclass

from vertebra.audit.verify import Stored
from vertebra.schemas.audit import Entry
from vertebra.schemas.ids import Tenant
from vertebra.store.pool import Connection
from vertebra.store.queries import named


@dataclass(frozen=True, slots=True)
class Traced:
    """One entry and where it stands."""

    stream: str
    seq: int
    entry: Entry


async def trace(connection: Connection, tenant: Tenant, correlation_id: str) -> list[Traced]:
    """The entries of a correlation id, by time and then by place. Not verified: `vertebra audit verify` does that."""
    quoted = json.dumps(correlation_id, ensure_ascii=False)
    params = {"tenant": tenant, "correlation_id": correlation_id, "quoted": f'"correlation_id":{quoted}'}
    cursor = await connection.execute(named("audit", "trace"), params, binary=True)
    found = [traced(Stored._make(row)) for row in await cursor.fetchall()]
    return sorted(found, key=lambda item: (item.entry.time, item.stream, item.seq))


def traced(row: Stored) -> Traced:
    """An entry read back from its stored body. Raises ValueError if the body is none."""
    return Traced(row.stream, row.seq, Entry.model_validate_json(row.body))
