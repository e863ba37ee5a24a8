"""What one handshake shows: which end is wrong, and which setting."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.envconfig import ClientConfigTLS

from tests.certificates import Authority, Pair
from vertebra.client.handshake import explain

NAME = "temporal.example"
OLD_HELLO = b"\x02\x00\x00\x26\x03\x01" + bytes(32) + b"\x00\x00\x2f\x00"
"""A ServerHello of TLS 1.0 (RFC 2246, section 7.4.1.3)."""


def alert(number: int) -> bytes:
    """A fatal alert, in a record of TLS 1.2 (RFC 5246, section 7.2)."""
    return b"\x15\x03\x03\x00\x02\x02" + bytes([number])


@asynccontextmanager
async def answering(answer: bytes = b"", tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server that answers whatever it hears with these bytes, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def showing(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.set_alpn_protocols(["h2"])
    return context


async def told(address: str, ca: Path | None = None) -> str:
    """What is wrong and what to do, as one text."""
    found = await explain(address, ClientConfigTLS(server_name=NAME, server_root_ca_cert=ca))
    return "" if found is None else f"{found.what}; {found.do}"


@pytest.mark.parametrize(
    ("answer", "what", "do"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there speaks none", "VERTEBRA_TEMPORAL_ADDRESS"),
        (b"\x00\x00\x06\x04\x00" + bytes(40), "what answers there speaks none", "VERTEBRA_TEMPORAL_ADDRESS"),
        (alert(70), "speaks no version that we speak (tlsv1 alert protocol version)", "TLS 1.2 or newer"),
        (b"\x16\x03\x01\x00\x2a" + OLD_HELLO, "speaks no version that we speak (unsup", "TLS 1.2 or newer"),
        (alert(112), "knows no server 'temporal.example' (tlsv1 unrecognized name)", "TLS_SERVER_NAME"),
        (alert(120), "is no Temporal, which speaks HTTP/2", "VERTEBRA_TEMPORAL_ADDRESS"),
        (alert(40), "refused this client, which shows no certificate (ssl", "set VERTEBRA_TEMPORAL_TLS_CERT"),
        (alert(42), "refused this client, which shows no certificate (ssl", "set VERTEBRA_TEMPORAL_TLS_CERT"),
        (alert(48), "refused this client, which shows no certificate (tlsv1 alert unknown ca", "TLS_CERT"),
        (alert(116), "which shows no certificate (tlsv13 alert certificate required", "TLS_CERT"),
        (alert(80), "TLS fails (tlsv1 alert internal error); see the log of what answers", "VERTEBRA_TEMPORAL_ADDRESS"),
        (b"\x16\x03\x03\x00\x05abcde", "TLS fails (unexpected message)", "VERTEBRA_TEMPORAL_ADDRESS"),
    ],
    ids=[
        "http",
        "http2",
        "version",
        "old",
        "name",
        "alpn",
        "handshake",
        "bad-cert",
        "unknown-ca",
        "no-cert",
        "internal",
        "garbage",
    ],
)
async def test_an_answer_that_ends_the_handshake_is_told_apart(answer: bytes, what: str, do: str) -> None:
    """No TLS at all, another version, another name, no certificate, and what nobody foresaw in OpenSSL's own words."""
    async with answering(answer) as address:
        said = await told(address)

    assert what in said
    assert do in said


@pytest.mark.parametrize(
    ("name", "ends", "known", "what", "do"),
    [
        ("other.example", 1, True, "Hostname mismatch", "set VERTEBRA_TEMPORAL_TLS_SERVER_NAME"),
        (NAME, -1, True, "certificate has expired", "have the certificate of temporal.example renewed"),
        (NAME, 1, False, "unable to get local issuer", "VERTEBRA_TEMPORAL_TLS_CA"),
    ],
    ids=["name", "expired", "authority"],
)
async def test_a_certificate_that_is_not_trusted_is_told_apart(
    tmp_path: Path, name: str, ends: int, known: bool, what: str, do: str
) -> None:
    """Another host's, an expired one, one of an authority that nobody named."""
    authority = Authority(tmp_path, "authority")
    pair = authority.signs(name, ends=timedelta(days=ends))

    async with answering(b"", showing(pair)) as address:
        said = await told(address, authority.cert if known else None)

    assert f"TLS fails: its certificate is not trusted: {what}" in said
    assert do in said


async def test_a_server_that_answers_is_no_trouble(tmp_path: Path) -> None:
    """One that is trusted and lets this client in."""
    authority = Authority(tmp_path, "authority")

    async with answering(b"\x00", showing(authority.signs(NAME))) as address:
        assert "" == await told(address, authority.cert)
