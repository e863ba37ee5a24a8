"""Front doors of Temporal with TLS: a proxy before the real server, and a stand-in that reads who asks."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority, Pair
from vertebra.schemas.canonical import Json

NODE = shutil.which("node")
_STAND_IN = Path(__file__).with_name("stand_in.js")


@asynccontextmanager
async def proxy(server: Pair, clients: Authority, behind: str) -> AsyncIterator[str]:
    """An address where TLS ends before the server `behind`; only who shows a certificate of `clients` gets in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(clients.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    lines: set[asyncio.Task[None]] = set()

    def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(_joined(reader, writer, behind))
        lines.add(line)
        line.add_done_callback(lines.discard)

    listening = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for line in list(lines):
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


async def _joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: str) -> None:
    host, _, port = behind.rpartition(":")
    inner, outer = await asyncio.open_connection(host, int(port))
    try:
        await asyncio.gather(_pumped(reader, outer), _pumped(inner, writer))
    finally:
        writer.close()
        outer.close()


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass  # a client that was refused after the handshake, or has gone
    finally:
        writer.close()


@dataclass
class StandIn:
    """A server that speaks gRPC and knows one key; every other it refuses, saying it back."""

    address: str
    _process: subprocess.Popen[str]

    def heard(self) -> list[dict[str, Json]]:
        """The headers of every request; the server is stopped for it."""
        self._process.terminate()
        out, _ = self._process.communicate(timeout=60)
        return [json.loads(line) for line in out.splitlines()]


@contextmanager
def stand_in(server: Pair, key: str, *, asks_all: bool) -> Iterator[StandIn]:
    """`asks_all`: its first question, what the server can do, is answered to friends only, too."""
    assert NODE
    words = (NODE, str(_STAND_IN), str(server.cert), str(server.key), key, "all" if asks_all else "some")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield StandIn(f"127.0.0.1:{int(process.stdout.readline())}", process)
        finally:
            process.kill()
