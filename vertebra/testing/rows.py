"""Rows in memory, behind the very queries that go to Postgres: each named statement has one answer in `answers`.

A statement is known by its text, so nothing above `store.transaction` knows which of the two it speaks to. Transactions
come one after the other; what one wrote is undone where it is rolled back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from vertebra.schemas.errors import Conflict, StoreError
from vertebra.store.pool import InMemory, InMemoryPool

Row: TypeAlias = dict[str, Any]
Params: TypeAlias = Mapping[str, Any]
Statement: TypeAlias = tuple[str, Params]
Key: TypeAlias = tuple[object, ...]


class Rows:
    """The tables, by primary key in the order of insertion. A row is replaced, never changed."""

    def __init__(self) -> None:
        self.now = datetime.min.replace(tzinfo=UTC)
        """The time of the transaction that is at work."""
        self._tables: dict[str, dict[Key, Row]] = {}
        self._serial = 0
        self._undo: list[tuple[str, Key, Row | None]] = []

    def of(self, table: str, /, **where: Any) -> list[Row]:
        """The rows whose columns have these values."""
        rows = self._tables.get(table, {}).values()
        return [row for row in rows if all(row[name] == value for name, value in where.items())]

    def get(self, table: str, *key: object) -> Row | None:
        return self._tables.get(table, {}).get(key)

    def add(self, table: str, key: Key, row: Row) -> bool:
        """Insert; False where the key is taken, and nothing happens."""
        if key in self._tables.setdefault(table, {}):
            return False
        self._put(table, key, row)
        return True

    def insert(self, table: str, key: Key, row: Row) -> None:
        """Insert. Raises Conflict where the key is taken."""
        if not self.add(table, key, row):
            raise Conflict(f"{table} has a row {key} already", constraint=f"{table}_pk")

    def change(self, table: str, key: Key, /, **columns: Any) -> Row:
        """The row with these columns set."""
        self._put(table, key, {**self._tables[table][key], **columns})
        return self._tables[table][key]

    def delete(self, table: str, key: Key) -> None:
        self._undo.append((table, key, self._tables[table].pop(key)))

    def serial(self) -> int:
        """The next number of an identity column."""
        self._serial += 1
        return self._serial

    def mark(self) -> int:
        """Where a transaction begins; `undo` goes back to it."""
        return len(self._undo)

    def undo(self, mark: int) -> None:
        while len(self._undo) > mark:
            table, key, before = self._undo.pop()
            if before is None:
                del self._tables[table][key]
            else:
                self._tables[table][key] = before

    def forget(self, mark: int) -> None:
        """What was written since then stays."""
        del self._undo[mark:]

    def _put(self, table: str, key: Key, row: Row) -> None:
        self._undo.append((table, key, self._tables[table].get(key)))
        self._tables[table][key] = row


Answer: TypeAlias = Callable[[Rows, Params], Sequence[Row] | None]
"""What one statement does to the rows, and gives; None gives no rows."""


class MemoryPool(InMemoryPool):
    """Rows of one database that nobody keeps, with the answers to its statements."""

    def __init__(self, answers: Mapping[str, Answer], now: Callable[[], datetime]) -> None:
        """`now` is asked once per transaction and must go on from one to the next."""
        self.rows = Rows()
        self._answers = answers
        self._now = now
        self._turn = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None

    async def getconn(self) -> MemoryConnection:
        return MemoryConnection(self)

    async def putconn(self, connection: InMemory) -> None:
        """Nothing is held open."""

    async def begin(self) -> bool:
        """Take the turn; False where this very task has it already: a look beside its own transaction."""
        if self._owner is asyncio.current_task():
            return False
        await self._turn.acquire()
        self._owner = asyncio.current_task()
        self.rows.now = self._now()
        return True

    def end(self, *, undone: bool) -> None:
        """Give the turn to the next."""
        self._owner = None
        self._turn.release()

    def answer(self, sql: str, params: Params) -> list[Row]:
        try:
            answer = self._answers[sql]
        except KeyError:
            start = " ".join(sql.split())[:60]
            raise StoreError(f"the rows in memory do not know the statement {start!r}") from None
        return list(answer(self.rows, params) or ())


class MemoryConnection(InMemory):
    """One transaction at a time, or single trips that are transactions of their own."""

    def __init__(self, pool: MemoryPool) -> None:
        self._pool = pool
        self._mark: int | None = None
        self._owns = False

    async def answer(self, statements: Sequence[Statement]) -> list[list[Mapping[str, Any]]]:
        if self._mark is None and statements and statements[0][0] != "begin":
            [_, *found, _] = await self.answer([("begin", {}), *statements, ("commit", {})])
            return found
        try:
            return [await self._one(sql, params) for sql, params in statements]
        except BaseException:
            # a trip that ends its transaction itself gets no rollback; a second one changes nothing
            self._end(undo=True)
            raise

    async def _one(self, sql: str, params: Params) -> list[Mapping[str, Any]]:
        if sql == "begin":
            self._owns = await self._pool.begin()
            self._mark = self._pool.rows.mark()
        elif sql in ("commit", "rollback"):
            self._end(undo=sql == "rollback")
        else:
            return list(self._pool.answer(sql, params))
        return []

    def _end(self, *, undo: bool) -> None:
        if self._mark is None:
            return
        if undo:
            self._pool.rows.undo(self._mark)
        elif self._owns:
            self._pool.rows.forget(self._mark)
        self._mark = None
        if self._owns:
            self._pool.end(undone=undo)
