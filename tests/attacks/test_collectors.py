"""A collector of spans in the hands of an attacker: it loses no span, and holds up no worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from vertebra.schemas.errors import StoreError
from vertebra.workers.telemetry import genai
from vertebra.workers.telemetry import otlp as otlp_module
from vertebra.workers.telemetry.otlp import PATIENCE_S, Otlp
from vertebra.workers.telemetry.trace import Span

pytestmark = pytest.mark.attack

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = Span(1, "a" * 32, "b" * 16, None, "node one", "internal", NOW, NOW, True, {})
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n"
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(*parts: bytes, every_s: float = 0.0, forever: bytes = b"") -> Reply:
    """These bytes, and then without end `forever`, each part after a pause."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        while forever:
            await asyncio.sleep(every_s)
            writer.write(forever)
            await writer.drain()

    return reply


@asynccontextmanager
async def collecting(reply: Reply) -> AsyncIterator[tuple[Otlp, list[bytes]]]:
    """A client, and the first lines of all that its collector was asked."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.splitlines()[0])
            await reply(writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    otlp = Otlp(f"http://127.0.0.1:{port}/v1/traces", genai.resource("0", "w-1"))
    try:
        yield otlp, asked
    finally:
        await otlp.aclose()
        server.close()


@pytest.mark.parametrize("status", [204, 300, 301, 302, 303, 304, 307, 308])
async def test_only_a_collector_that_took_spans_is_believed(status: int) -> None:
    """Who points elsewhere has taken nothing, and nothing is sent where it points."""
    head = f"HTTP/1.1 {status} Elsewhere\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n".encode()
    async with collecting(says(head)) as (otlp, asked):
        if status == 204:
            await otlp.send([SPAN])
        else:
            with pytest.raises(StoreError):
                await otlp.send([SPAN])
    assert [b"POST /v1/traces HTTP/1.1"] == asked


LIES = {
    "closes at once": says(),
    "no HTTP": says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "an endless head": says(b"HTTP/1.1 200 OK\r\n", forever=b"x-more: 1\r\n"),
    "a head a byte at a time": says(b"HTTP/1.1 200 OK\r\nx-slow: ", every_s=0.5, forever=b"x"),
    "a status that is none": says(b"HTTP/1.1 999999999999 OK\r\n\r\n"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_collector_that_does_not_answer_has_taken_nothing(lie: str) -> None:
    """Whatever it says instead, the duty hears that nothing is certain, and soon."""
    async with collecting(LIES[lie]) as (otlp, _):
        with pytest.raises(StoreError):
            await asyncio.wait_for(otlp.send([SPAN]), 3 * PATIENCE_S)


BODIES = {
    "10 MB": says(OK + b"content-length: 10000000\r\n\r\n" + b"x" * 10_000_000),
    "without end": says(OK + b"\r\n", forever=b"x" * 100_000),
    "a byte at a time": says(OK + b"content-length: 1000\r\n\r\n", every_s=0.5, forever=b"x"),
    "less than promised": says(OK + b"content-length: 1000\r\n\r\nx"),
    "in broken chunks": says(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"),
    "no gzip": says(OK + b"content-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"),
}


@pytest.mark.parametrize("body", BODIES)
async def test_nobody_waits_for_what_a_collector_says_besides(body: str) -> None:
    """It took the spans, as its status says; its body is not read, which would take longer than a batch may."""
    async with collecting(BODIES[body]) as (otlp, _):
        await otlp.send([SPAN])


async def test_a_collector_that_never_ends_its_answer_holds_one_thread() -> None:
    """The spans after are refused at once, until the batch before has come to an end."""
    async with collecting(LIES["a head a byte at a time"]) as (otlp, asked):
        with pytest.raises(StoreError, match="did not answer within"):
            await otlp.send([SPAN])
        with pytest.raises(StoreError, match="spans before"):
            await otlp.send([SPAN])
    assert 1 == len(asked)


async def test_a_batch_follows_the_one_before_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is that the answer is there, and not whether the thread that heard it has ended."""
    hear = otlp_module._export

    def slow_to_end(exporter: object, spans: Sequence[object], ended: Future[object]) -> None:
        hear(exporter, spans, ended)
        time.sleep(1)

    monkeypatch.setattr(otlp_module, "_export", slow_to_end)
    async with collecting(says(OK + b"content-length: 0\r\n\r\n")) as (otlp, asked):
        await otlp.send([SPAN])
        await otlp.send([SPAN])
    assert 2 == len(asked)
