"""Pooled connections to Postgres, with every time limit that keeps a cut network or a lost lock from hanging us."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
Pool: TypeAlias = AsyncConnectionPool[Connection]


class InMemory(ABC):
    """Stands in for a connection to Postgres and keeps the rows itself: `vertebra.testing` has the only one."""

    closed = False

    @abstractmethod
    async def answer(self, statements: Sequence[tuple[str, Mapping[str, Any]]]) -> list[list[Mapping[str, Any]]]:
        """The rows of each statement of one trip. Raises StoreError; then what it is part of is to be rolled back."""


class InMemoryPool(ABC):
    """Gives out such connections."""

    @abstractmethod
    async def getconn(self) -> InMemory: ...

    @abstractmethod
    async def putconn(self, connection: InMemory) -> None: ...


Link: TypeAlias = Connection | InMemory
"""A connection, or what stands in for one."""
Links: TypeAlias = Pool | InMemoryPool
"""Where `store.transaction` takes one from."""

Told: TypeAlias = Callable[[str, float], None]
"""Hears of each round trip: the name of its transaction, and its seconds."""

CONNECT_TIMEOUT_S = 5
TCP_USER_TIMEOUT_MS = 5_000  # a cut network hung for more than 40 s without, 5.3 s with it
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_MS = 10_000
WAIT_FOR_CONNECTION_S = 5.0
ANSWER_S = 15.0
"""How long one trip may take. The limits above are the server's own, or end with its acknowledgement: a server that
stands still, or that another has replaced, took the question and never answers."""


class TimedPool(AsyncConnectionPool[Connection]):
    """A pool whose round trips are timed for somebody."""

    told: Told | None = None


def new_pool(
    dsn: str, *, max_size: int, min_size: int = 1, name: str = "vertebra", told: Told | None = None
) -> TimedPool:
    """A pool that is not open yet (`async with` opens it). Connections are in autocommit: transactions are explicit.

    psycopg prepares nothing itself: `store.wire` does, and psycopg would deallocate those statements after a rollback.
    """
    pool = TimedPool(
        make_conninfo(dsn, **_limits(name)),
        kwargs={"autocommit": True, "prepare_threshold": None},
        min_size=min_size,
        max_size=max_size,
        open=False,
        timeout=WAIT_FOR_CONNECTION_S,
        name=name,
    )
    pool.told = told
    return pool


async def connect(dsn: str, *, name: str = "vertebra") -> Connection:
    """One connection with the same limits, for commands that need no pool."""
    conninfo = make_conninfo(dsn, **_limits(name))
    return await psycopg.AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=None)


def _limits(name: str) -> dict[str, int | str]:
    server = {
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
    }
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
        "application_name": name,
        "options": " ".join(f"-c {key}={value}" for key, value in server.items()),
    }
