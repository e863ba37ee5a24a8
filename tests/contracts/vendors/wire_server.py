"""A very small vendor on loopback: it fails in every way in which vendors do, and keeps what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Literal

from vertebra.schemas.canonical import Json


@dataclass
class Answer:
    """What the server does with the next request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    how: Literal["whole", "cut", "silent", "drip"] = "whole"


@dataclass
class Seen:
    """One request as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: dict[str, Json]


class WireServer:
    """Speaks HTTP, and nobody's interface: the bodies are the test's."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.first: list[Answer] = []
        """What it does before that, used up one by one."""
        self.seen: list[Seen] = []
        self.url = ""
        self._server: asyncio.Server | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._stopping.set()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away, as it may
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.seen.append(Seen(first.split(" ")[1], headers, json.loads(body)))
        return await self._send(writer)

    async def _send(self, writer: asyncio.StreamWriter) -> bool:
        answer = self.first.pop(0) if self.first else self.answer
        if answer.how == "silent":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 60)
            return False
        fields = {"content-type": "application/json", "content-length": str(len(answer.body)), **answer.headers}
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(head.encode() + b"\r\n" + (answer.body[: len(answer.body) // 2] if answer.how == "cut" else b""))
        if answer.how == "drip":
            for byte in answer.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        elif answer.how == "whole":
            writer.write(answer.body)
        await writer.drain()
        return answer.how == "whole"
