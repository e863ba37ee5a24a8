"""A pool whose connections are cut at a chosen trip of a run's activities, before or after the server has done it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from temporalio import activity

from vertebra.store.pool import Pool, new_pool

Moment = Literal["before", "after"]
T = TypeVar("T")


@dataclass(frozen=True)
class Cut:
    """Which trip of a run is cut, and whether the server has carried it out by then."""

    trip: int
    moment: Moment


@dataclass
class Cuts:
    """What is to be cut, and what was: trips of one run are counted over all its activities."""

    planned: dict[str, Cut] = field(default_factory=dict)
    trips: Counter[str] = field(default_factory=Counter)
    made: dict[str, str] = field(default_factory=dict)
    """Run to the activity type that was hit."""

    def next(self) -> Moment | None:
        """How the trip that is about to be made is cut. What is not of an activity is left alone."""
        if not activity.in_activity():
            return None
        info = activity.info()
        run = info.workflow_id or ""
        number = self.trips[run]
        self.trips[run] += 1
        cut = self.planned.get(run)
        if cut is None or cut.trip != number:
            return None
        self.made[run] = info.activity_type
        return cut.moment


class _Door(asyncio.Lock):
    """A connection's lock, taken before a trip sends its first byte."""

    def __init__(self, connection: Cutting) -> None:
        super().__init__()
        self._connection = connection

    async def __aenter__(self) -> None:
        moment = Cutting.cuts.next()
        if moment == "before":
            self._connection.lose()
        self._connection.moment = moment
        await super().__aenter__()


class Cutting(psycopg.AsyncConnection[TupleRow]):
    """Loses its server as planned. Whoever uses it sees what a dead network shows."""

    cuts: ClassVar[Cuts] = Cuts()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lock = _Door(self)
        self.moment: Moment | None = None

    async def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        result = await super().wait(gen, *args, **kwargs)
        if self.moment == "after":
            self.lose()
        return result

    def lose(self) -> None:
        """Cut the wire: nothing more is sent, nothing more arrives."""
        with socket.socket(fileno=os.dup(self.pgconn.socket)) as wire:
            wire.shutdown(socket.SHUT_RDWR)
        self.pgconn.finish()
        raise psycopg.OperationalError("the connection was cut by the test")


@asynccontextmanager
async def cutting(dsn: str) -> AsyncIterator[tuple[Pool, Cuts]]:
    """A pool like the gate's, and what to plan its cuts with."""
    plain = new_pool(dsn, max_size=16, min_size=4)
    Cutting.cuts = Cuts()
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        plain.conninfo, connection_class=Cutting, kwargs=plain.kwargs, min_size=4, max_size=16, open=False, timeout=5.0
    )
    async with pool:
        yield pool, Cutting.cuts
