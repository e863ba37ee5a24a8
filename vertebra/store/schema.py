"""Which schema this release works with: a worker that meets a newer one must not touch it."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from vertebra.schemas.errors import SettingsError

REVISION = "0005"
"""The newest revision under `migrations/versions`; a test compares the two."""


async def check_schema(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """Refuse to start on a schema that is not this release's. Raises SettingsError."""
    found = await _revision(connection)
    if found is None or found < REVISION:
        state = "has no schema" if found is None else f"has the older schema {found}"
        raise SettingsError(f"the database {state}, this release needs {REVISION}", do="run: vertebra migrate")
    if found > REVISION:
        raise SettingsError(
            f"the database has the newer schema {found}, this release knows {REVISION}",
            do="upgrade vertebra on this machine; an older worker must not write here",
        )


async def _revision(connection: psycopg.AsyncConnection[TupleRow]) -> str | None:
    known = await (await connection.execute("select to_regclass('public.alembic_version') is not null")).fetchone()
    if not (known and known[0]):
        return None
    row = await (await connection.execute("select version_num from alembic_version")).fetchone()
    return str(row[0]) if row else None
