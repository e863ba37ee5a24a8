"""Small HTTP servers of the tests' own, on loopback, and a hook that sees every connection that leaves a process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ssl import SSLContext


@dataclass(frozen=True)
class Asked:
    """One request as a server has read it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Reply = Callable[[Asked], bytes]


@dataclass
class Heard:
    """A running server, and what it was asked."""

    port: int
    asked: list[Asked] = field(default_factory=list)


def reply(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an answer that says its length, and that the connection closes."""
    fields = {"content-length": str(len(body)), "connection": "close", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + body


@asynccontextmanager
async def serving(answer: Reply, tls: SSLContext | None = None) -> AsyncIterator[Heard]:
    """A server that answers each request with what `answer` gives, and closes; no bytes = it never answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _read(reader)
            heard.asked.append(asked)
            said = answer(asked)
            writer.write(said)
            await writer.drain()
            if not said:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone: that is what some tests are about
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    heard = Heard(server.sockets[0].getsockname()[1])
    try:
        yield heard
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body)


_WATCHING: list[list[object]] = []
_HOOKED: list[bool] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and _WATCHING:
        address = arguments[1]
        if isinstance(address, tuple):
            _WATCHING[-1].append(address[0])
            raise ConnectionRefusedError("no connection leaves this test")


@contextmanager
def no_connections() -> Iterator[Sequence[object]]:
    """Every connection to an IP address is stopped before its first packet, and its address kept."""
    if not _HOOKED:
        sys.addaudithook(_hook)  # for good: an audit hook cannot be taken away, so it looks whether anybody watches
        _HOOKED.append(True)
    found: list[object] = []
    _WATCHING.append(found)
    try:
        yield found
    finally:
        _WATCHING.remove(found)
