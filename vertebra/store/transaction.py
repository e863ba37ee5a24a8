"""Transactions of two round trips: BEGIN travels with the first, COMMIT with the last, queries are pipelined between.

`statement_timeout`, a lost connection or a refused row all end the same way: the transaction is rolled back and a
StoreError (or one of its kinds) says why.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeAlias

import psycopg

from vertebra.schemas.errors import AuditRefused, Conflict, StoreError
from vertebra.store.pool import InMemory, InMemoryPool, Link, Links, TimedPool, Told
from vertebra.store.wire import round_trip

Row: TypeAlias = Mapping[str, Any]
"""One row by column name."""
Param: TypeAlias = Any
"""Whatever psycopg can adapt: text, int, bytes, bool, aware datetime, lists of these, Jsonb, None."""

HEAD_MOVED = "VT001"
ENTRY_REFUSED = "VT002"


@dataclass(frozen=True, slots=True)
class Query:
    """One statement with its parameters. `name` is for messages and traces."""

    name: str
    sql: LiteralString
    params: Mapping[str, Param] = field(default_factory=dict)


_BEGIN = Query("begin", "begin")
_COMMIT = Query("commit", "commit")
_ROLLBACK = Query("rollback", "rollback")


async def trip(connection: Link, queries: Sequence[Query]) -> list[list[Row]]:
    """Send all queries in one round trip and give back the rows of each, in order.

    Outside a transaction the trip is one of its own. Raises StoreError; after that nothing of the trip has happened.
    """
    statements = [(query.sql, query.params) for query in queries]
    if isinstance(connection, InMemory):
        return await connection.answer(statements)
    with _as_store_error(queries):
        return await round_trip(connection, statements)


class Transaction:
    """An open transaction; get one from `transaction`. Leaving without `commit` rolls back."""

    def __init__(self, connection: Link, name: str | None = None, told: Told | None = None) -> None:
        self._connection = connection
        self._name, self._told = name, told
        self._begun = False
        self._ended = False

    async def trip(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Send these in one round trip; the first trip carries BEGIN."""
        return await self._send(queries, last=False)

    async def commit(self, queries: Sequence[Query] = ()) -> list[list[Row]]:
        """Send these and COMMIT in one round trip. When this returns, everything is durable."""
        rows = await self._send(queries, last=True)
        self._ended = True
        return rows

    async def rollback(self) -> None:
        """Undo everything. Does nothing if nothing was sent, or the transaction has ended."""
        if self._begun and not self._ended:
            self._ended = True
            await trip(self._connection, [_ROLLBACK])

    async def _send(self, queries: Sequence[Query], *, last: bool) -> list[list[Row]]:
        if self._ended:
            raise StoreError("the transaction has ended", do="open another one")
        before = () if self._begun else (_BEGIN,)
        self._begun = True
        self._name = self._name or (queries[0].name if queries else _COMMIT.name)
        rows = await self._timed([*before, *queries, *((_COMMIT,) if last else ())])
        return rows[len(before) : len(before) + len(queries)]

    async def _timed(self, queries: Sequence[Query]) -> list[list[Row]]:
        if self._told is None or self._name is None:
            return await trip(self._connection, queries)
        began = time.perf_counter()
        try:
            return await trip(self._connection, queries)
        finally:
            self._told(self._name, time.perf_counter() - began)


@asynccontextmanager
async def pipelined(connection: Link, name: str | None = None, told: Told | None = None) -> AsyncIterator[Transaction]:
    """A transaction on this connection; rolled back unless `commit` was called."""
    transaction = Transaction(connection, name, told)
    try:
        yield transaction
    finally:
        if not connection.closed:
            await transaction.rollback()


@asynccontextmanager
async def transaction(pool: Links, name: str | None = None) -> AsyncIterator[Transaction]:
    """A transaction on a connection of the pool; the connection goes back at the end.

    Its round trips are timed under this name, or that of its first query.
    """
    if isinstance(pool, InMemoryPool):
        kept = await pool.getconn()
        async with pipelined(kept) as opened:
            yield opened
        await pool.putconn(kept)
        return
    with _as_store_error(()):
        connection = await pool.getconn()
    try:
        told = pool.told if isinstance(pool, TimedPool) else None
        async with pipelined(connection, name, told) as opened:
            yield opened
    finally:
        await pool.putconn(connection)


async def once(pool: Links, queries: Sequence[Query]) -> list[list[Row]]:
    """One round trip that is a transaction of its own, on a connection of the pool."""
    async with transaction(pool) as opened:
        return await opened.commit(queries)


@contextmanager
def _as_store_error(queries: Sequence[Query]) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error, queries) from error
    except UnicodeEncodeError as error:
        raise StoreError("a text holds a lone surrogate, which no database takes", at=_names(queries)) from error


def _translated(error: psycopg.Error, queries: Sequence[Query]) -> StoreError:
    what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    at = _names(queries)
    if error.sqlstate in (HEAD_MOVED, ENTRY_REFUSED):
        return AuditRefused(what, at=at, head_moved=error.sqlstate == HEAD_MOVED)
    if isinstance(error, psycopg.errors.UniqueViolation):
        return Conflict(what, at=at, constraint=error.diag.constraint_name)
    return StoreError(f"Postgres refused or was not reached: {what}", at=at, sqlstate=error.sqlstate)


def _names(queries: Sequence[Query]) -> str | None:
    return ", ".join(query.name for query in queries if query not in (_BEGIN, _COMMIT, _ROLLBACK)) or None
