"""The transactions of one run's calls, taken in turn; those that come together are one transaction.

Each of them locks the run's row, so two at a time would only wait for each other in the database, each for the flush of
the one before. A call alone, whose run's audit nobody else moved, settles in one round trip instead of two.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vertebra.schemas.audit import Head
from vertebra.schemas.errors import AuditRefused, VertebraError
from vertebra.store.pool import Links
from vertebra.store.transaction import Query, Row, transaction

TOGETHER = 16
"""Calls that share a transaction at most: all of them wait for the slowest."""
REMEMBERED = 10_000
"""Runs whose audit head one worker remembers."""
MISSES = 2
"""After so many wrong guesses other workers are busy with the run too: then look first."""


class Part(Protocol):
    """One call's share of a transaction."""

    @property
    def run(self) -> str: ...
    @property
    def activity_id(self) -> str: ...
    @property
    def reads(self) -> Sequence[Query]: ...

    async def judge(self, rows: list[list[Row]], head: Head | None) -> Sequence[Query] | None:
        """What to write after these rows were read; `head` is where others of this transaction will leave the audit.

        None writes nothing: then the transaction is rolled back. May be asked again, after a rollback.
        """

    def guess(self, head: Head) -> Sequence[Query] | None:
        """All queries at once, reads first, if nothing that could be read but the audit's head decides on them."""

    def written(self, rows: list[list[Row]]) -> None:
        """The transaction is durable. `rows` are those that its reads gave."""


@dataclass(slots=True)
class _Ticket:
    part: Part
    done: asyncio.Future[None]


class Turns:
    """The turns of all runs of one worker."""

    def __init__(self, pool: Links) -> None:
        self._pool = pool
        self._waiting: dict[str, list[_Ticket]] = {}
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._heads: dict[str, Head] = {}
        self._misses: dict[str, int] = {}
        self._newest: dict[tuple[str, str], object] = {}

    async def take(self, part: Part) -> None:
        """Carry out a part in its turn. Raises StoreError: then nothing of it has happened.

        Cancelled before its turn, it never happens; cancelled in its turn, it ends first, so that it knows how.
        """
        ticket = _Ticket(part, asyncio.get_running_loop().create_future())
        waiting = self._waiting.setdefault(part.run, [])
        waiting.append(ticket)
        if part.run not in self._serving:
            self._serving[part.run] = asyncio.create_task(self._serve(part.run))
        try:
            await asyncio.shield(ticket.done)
        except asyncio.CancelledError:
            if ticket in waiting:
                waiting.remove(ticket)
            else:
                await asyncio.wait([ticket.done])
                with contextlib.suppress(VertebraError):
                    ticket.done.result()
            raise

    def enter(self, run: str, activity_id: str) -> object:
        """An attempt comes to the gate; gives the token by which it is known until it leaves."""
        token = self._newest[run, activity_id] = object()
        return token

    def is_newest(self, run: str, activity_id: str, token: object) -> bool:
        """Whether no other attempt of this call has come to the gate of this worker since."""
        return self._newest.get((run, activity_id)) is token

    def leave(self, run: str, activity_id: str, token: object) -> None:
        """The attempt has gone."""
        if self.is_newest(run, activity_id, token):
            del self._newest[run, activity_id]

    def forget(self, run: str) -> None:
        """Somebody else has written to the run's audit."""
        self._heads.pop(run, None)

    def drop(self, run: str) -> None:
        """The run has ended: remember nothing of it."""
        self.forget(run)
        self._misses.pop(run, None)

    async def _serve(self, run: str) -> None:
        tickets: list[_Ticket] = []
        try:
            while tickets := self._next(run):
                await self._carry_out(tickets)
        finally:
            for ticket in (*tickets, *self._waiting.pop(run, ())):
                ticket.done.cancel()  # of those that are done it changes nothing
            del self._serving[run]

    def _next(self, run: str) -> list[_Ticket]:
        """The next tickets to be taken together. Two attempts of one call never are: the second must see the first."""
        waiting = self._waiting[run]
        taken: dict[str, _Ticket] = {}
        for ticket in waiting:
            if len(taken) < TOGETHER:
                taken.setdefault(ticket.part.activity_id, ticket)
        waiting[:] = [ticket for ticket in waiting if taken.get(ticket.part.activity_id) is not ticket]
        return list(taken.values())

    async def _carry_out(self, tickets: Sequence[_Ticket]) -> None:
        if len(tickets) > 1 and await self._together([ticket.part for ticket in tickets]):
            for ticket in tickets:
                ticket.done.set_result(None)
            return
        for ticket in tickets:
            try:
                await self._alone(ticket.part)
                ticket.done.set_result(None)
            except Exception as error:
                ticket.done.set_exception(error)  # the call's own

    async def _together(self, parts: Sequence[Part]) -> bool:
        """False: one of them spoils it for all, so each takes a turn of its own."""
        try:
            return await self._transact(parts)
        except VertebraError:
            return False

    async def _alone(self, part: Part) -> None:
        if not await self._guessed(part):
            await self._transact([part])

    async def _guessed(self, part: Part) -> bool:
        head = self._heads.get(part.run)
        known = head is not None and self._misses.get(part.run, 0) < MISSES
        queries = part.guess(head) if known and head is not None else None
        if queries is None:
            return False
        try:
            async with transaction(self._pool, "gate") as opened:
                rows = await opened.commit(queries)
        except AuditRefused as refused:
            if not refused.head_moved:
                raise
            self._misses[part.run] = self._misses.get(part.run, 0) + 1
            self.forget(part.run)
            return False
        self._remember(part.run, queries)
        part.written(rows[: len(part.reads)])
        return True

    async def _transact(self, parts: Sequence[Part]) -> bool:
        run = parts[0].run
        async with transaction(self._pool, "gate") as opened:
            brought = iter(await opened.trip([query for part in parts for query in part.reads]))
            rows = [[next(brought) for _ in part.reads] for part in parts]
            writes: list[Query] = []
            for part, mine in zip(parts, rows, strict=True):
                more = await part.judge(mine, head_after(writes, run))
                if more is None:
                    return False
                writes += more
            await opened.commit(writes)
        self._remember(run, writes)
        for part, mine in zip(parts, rows, strict=True):
            part.written(mine)
        return True

    def _remember(self, run: str, writes: Sequence[Query]) -> None:
        head = head_after(writes, run)
        if head is None:
            return
        if len(self._heads) >= REMEMBERED:
            self._heads.clear()
            self._misses.clear()
        self._heads[run] = head


def head_after(writes: Sequence[Query], run: str) -> Head | None:
    """Where these queries leave the audit of a run; None if they append nothing."""
    for query in reversed(writes):
        if query.name == "append_run":
            hashes: list[bytes] = query.params["hashes"]
            return Head(stream=run, seq=query.params["seq"] + len(hashes), hash=hashes[-1])
    return None
