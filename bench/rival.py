"""The hand-written worker: the plain activities, and those that write two transactions each, as the gate does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import LiteralString

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from bench import byhand
from bench.project import REPLY
from vertebra.store.pool import Pool

TABLES: tuple[LiteralString, ...] = (
    "create table bench_runs (id text primary key, held bigint not null default 0, spent bigint not null default 0)",
    "create table bench_calls (id bigint generated always as identity primary key, run text, phase text, body text)",
)
_OPEN: LiteralString = "insert into bench_runs (id) values (%s) on conflict do nothing"
_RESERVE: LiteralString = "update bench_runs set held = held + 10 where id = %s"
_SETTLE: LiteralString = "update bench_runs set held = held - 10, spent = spent + 5 where id = %s"
_NOTE: LiteralString = "insert into bench_calls (run, phase, body) values (%s, %s, %s)"


class Plain:
    """An activity without any books."""

    @activity.defn(name=byhand.STEP)
    async def step(self, text: str) -> str:
        """1 KB."""
        return REPLY


class Booked:
    """An activity with the two transactions that any budget and any record need: reserve and note, settle and note."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @activity.defn(name=byhand.STEP)
    async def step(self, text: str) -> str:
        """1 KB."""
        run = activity.info().workflow_id or ""
        await self._write(run, _RESERVE, "intent", text)
        await self._write(run, _SETTLE, "outcome", REPLY)
        return REPLY

    async def _write(self, run: str, books: LiteralString, phase: str, body: str) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_OPEN, (run,))
            await connection.execute(books, (run,))
            await connection.execute(_NOTE, (run, phase, body))


@asynccontextmanager
async def rivals(client: Client, pool: Pool) -> AsyncIterator[None]:
    """Run both hand-written workers, each with the library's own defaults."""
    async with AsyncExitStack() as stack:
        for queue, body in ((byhand.PLAIN_QUEUE, Plain().step), (byhand.BOOKED_QUEUE, Booked(pool).step)):
            worker = Worker(client, task_queue=queue, workflows=byhand.ALL, activities=[body])
            await stack.enter_async_context(worker)
        yield
