"""The guard sits where the client library really connects, and TLS still asks for the name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import httpcore2
import pytest

from tests.certificates import Authority
from tests.servers import Asked, reply, serving
from vertebra.boundary.egress import Ask, Egress, GuardedTransport, Reach
from vertebra.schemas.errors import EgressRefused, HttpFailed

MANY = 300


def test_the_library_connects_through_the_pool_that_is_guarded() -> None:
    """`_pool` is private to the client library: this fails when a new version keeps its connections elsewhere."""
    transport = GuardedTransport(Reach())

    pool = transport._pool

    assert isinstance(pool, httpcore2.AsyncConnectionPool)
    assert "_Guard" == type(pool._network_backend).__name__


async def test_local_sockets_are_refused() -> None:
    """A transport that is told to use a local socket reaches none."""
    guard = GuardedTransport(Reach())._pool._network_backend

    with pytest.raises(EgressRefused):
        await guard.connect_unix_socket("/run/docker.sock")


async def _home(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def _certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for `name`, and a client's that trusts it."""
    authority = Authority(folder, "authority")
    pair = authority.signs(name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert, pair.key)
    return server, ssl.create_default_context(cafile=authority.cert)


@pytest.mark.parametrize(("name", "answered"), [("shop.example", True), ("other.example", False)])
async def test_tls_gets_the_name_and_not_the_address(tmp_path: Path, name: str, answered: bool) -> None:
    """The connection goes to the checked address, and the certificate must be the host's."""
    server, client = _certificate(tmp_path, name)
    async with serving(lambda asked: reply(body=b"well"), tls=server) as heard:
        here = f"shop.example:{heard.port}"
        async with Egress(Reach(hosts=(here,), inside=(here,)), resolve=_home, tls=client) as out:
            ask = Ask(method="GET", address=f"https://{here}/", headers={})
            if answered:
                assert b"well" == (await out.send(ask, within=[here])).body
            else:
                with pytest.raises(HttpFailed):
                    await out.send(ask, within=[here])


async def test_no_request_waits_for_another_ones_connection() -> None:
    """As many as a worker's settings allow at once are under way at once, however slow their host."""
    everybody = asyncio.Event()

    def silent(asked: Asked) -> bytes:
        if MANY == len(heard.asked):
            everybody.set()
        return b""

    async with serving(silent) as heard:
        here = f"127.0.0.1:{heard.port}"
        async with Egress(Reach(hosts=(here,), inside=(here,))) as out:
            asks = [Ask(method="GET", address=f"http://{here}/{number}", headers={}) for number in range(MANY)]
            sent = asyncio.gather(*(out.send(ask, within=[here]) for ask in asks))
            try:
                await asyncio.wait_for(everybody.wait(), 25)
            finally:
                sent.cancel()

    assert {f"/{number}" for number in range(MANY)} == {asked.path for asked in heard.asked}
