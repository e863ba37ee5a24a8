"""Everything that happened under one correlation id, over all its runs, in the order of time."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import ValidationError

from vertebra.audit.verify import Stored
from vertebra.schemas.audit import Entry
from vertebra.schemas.errors import TamperedRow
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
    """An entry read back from its stored body. Raises TamperedRow if the body is none."""
    try:
        return Traced(row.stream, row.seq, Entry.model_validate_json(row.body))
    except ValidationError:
        raise TamperedRow(
            f"entry {row.seq} of stream {row.stream!r} is no entry", do="see: vertebra audit verify"
        ) from None
