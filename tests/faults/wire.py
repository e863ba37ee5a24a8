"""A cable between a worker and a server that can be cut, or made a black hole: open, and nothing comes through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

LOOPBACK = "127.0.0.1"
State = Literal["open", "closed", "hole"]
_CHUNK = 65_536
_SOON_S = 0.05


@dataclass
class Wire:
    """Forwards bytes between its own port and the server's."""

    target: int
    port: int = 0
    state: State = "open"
    _pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = field(default_factory=dict)
    _dead: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def close(self) -> None:
        """Reset every connection, and each new one at once."""
        self.state = "closed"
        self._abort()

    def hole(self, forget: bool = False) -> None:
        """Take everything and pass nothing on. `forget`: what is connected now stays dead, as after a failover."""
        self.state = "hole"
        if forget:
            self._dead |= self._pairs.keys()

    def mend(self) -> None:
        """Forward again; what was taken meanwhile arrives late."""
        self.state = "open"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        except OSError:
            pass  # either side went away, or the cable was cut: the other side is told so below
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def stop(self) -> None:
        """End every connection."""
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passable(writer)
        if self.state == "closed":
            return
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.target)
        self._pairs[writer] = far_writer
        ways = [self._pump(reader, far_writer, writer), self._pump(far_reader, writer, writer)]
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            del self._pairs[writer]
            self._dead.discard(writer)
            far_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, near: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            await self._passable(near)
            sink.write(data)
            await sink.drain()

    async def _passable(self, near: asyncio.StreamWriter) -> None:
        """Wait until bytes of this connection come through."""
        while self.state == "hole" or near in self._dead:  # noqa: ASYNC110 - a state of many, looked at now and then
            await asyncio.sleep(_SOON_S)

    def _abort(self) -> None:
        for near, far in self._pairs.items():
            near.transport.abort()
            far.transport.abort()


@asynccontextmanager
async def wired(target: int) -> AsyncIterator[Wire]:
    """A cable to this port of loopback for the length of the block."""
    wire = Wire(target)
    server = await asyncio.start_server(wire.serve, LOOPBACK, 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 5)
