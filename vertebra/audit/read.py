"""Reads the audit out of Postgres: whole, in order, and in one snapshot with the heads that it is checked against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from psycopg.rows import TupleRow

from vertebra.audit.chain import MacKey
from vertebra.audit.verify import Report, Stored, verify
from vertebra.schemas.audit import Head
from vertebra.schemas.ids import RunId, Tenant
from vertebra.store.pool import Connection
from vertebra.store.queries import named

PAGE = 5_000


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[None]:
    """One unchanging view of all rows, for as long as the block lasts."""
    await connection.execute("begin transaction isolation level repeatable read read only")
    try:
        yield
    finally:
        await connection.execute("rollback")


async def heads(connection: Connection, tenant: Tenant) -> dict[str, Head]:
    """The end of every stream of a tenant, as its run or stream row names it."""
    cursor = await connection.execute(named("audit", "heads"), {"tenant": tenant}, binary=True)
    return {head.stream: head for head in map(_head, await cursor.fetchall())}


async def head_of(connection: Connection, stream: str) -> Head | None:
    """The end of one stream, or None if there is no such run or stream."""
    cursor = await connection.execute(named("audit", "head_of"), {"stream": stream}, binary=True)
    row = await cursor.fetchone()
    return None if row is None else _head(row)


async def all_entries(connection: Connection, tenant: Tenant) -> AsyncIterator[list[Stored]]:
    """Every entry of a tenant, stream by stream, in pages; inside `snapshot`."""
    async with connection.cursor("vertebra_audit", binary=True) as cursor:
        await cursor.execute(named("audit", "all_entries"), {"tenant": tenant})
        while page := await cursor.fetchmany(PAGE):
            yield [Stored._make(row) for row in page]


async def entries_of(connection: Connection, stream: str, after: int = 0) -> AsyncIterator[list[Stored]]:
    """One stream in order, from a sequence on, in pages."""
    while True:
        params = {"stream": stream, "after": after, "limit": PAGE}
        cursor = await connection.execute(named("audit", "entries"), params, binary=True)
        page = [Stored._make(row) for row in await cursor.fetchall()]
        if not page:
            return
        yield page
        after = page[-1].seq


async def verify_run(
    connection: Connection,
    run: RunId,
    keys: Mapping[str, MacKey] | None = None,
    remembered: Mapping[str, Head] | None = None,
) -> Report:
    """Verify the stream of one run."""
    async with snapshot(connection):
        head = await head_of(connection, run)
        found = [row async for page in entries_of(connection, run) for row in page]
    only = {name: known for name, known in (remembered or {}).items() if name == run}
    return verify(found, {} if head is None else {str(run): head}, keys, only)


async def verify_tenant(
    connection: Connection,
    tenant: Tenant,
    keys: Mapping[str, MacKey] | None = None,
    remembered: Mapping[str, Head] | None = None,
) -> Report:
    """Verify every stream of a tenant."""
    async with snapshot(connection):
        ends = await heads(connection, tenant)
        found = [row async for page in all_entries(connection, tenant) for row in page]
    return verify(found, ends, keys, remembered)


def _head(row: TupleRow) -> Head:
    return Head(stream=row[0], seq=row[1], hash=row[2])
