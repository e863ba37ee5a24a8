"""Every way that we know to send a request inside, tried on the one client that everything leaves by."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence

import pytest

from tests.servers import Asked, no_connections, reply, serving
from vertebra.boundary import egress as module
from vertebra.boundary.egress import Ask, Egress, Fetched, Limits, Reach, look_up
from vertebra.schemas.errors import EgressRefused, HttpFailed

pytestmark = pytest.mark.attack

LITERALS = (
    *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "0", "0.0.0.0"),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "2852039166", "0xa9.0xfe.0xa9.0xfe"),
    *("168.63.129.16", "192.0.0.192", "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("[::1]", "[::]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]"),
    *("[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", "[fe80::1]"),
    *("[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2002:808:808::1]"),
    *("[2001:0:7f00:1::]", "[2001:0:808:808:0:0:5601:5601]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]"),
    *("[ff02::1]", "localhost", "LOCALHOST"),
)
NAMES = {
    "localhost.": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "inside.example": ["10.1.2.3"],
    "one-bad-answer.example": ["8.8.8.8", "127.0.0.1"],
    "last-bad-answer.example": ["8.8.8.8", "2606:4700::1111", "fd00::1"],
}
ODD = (
    *("file:///etc/passwd", "ftp://8.8.8.8/", "gopher://8.8.8.8/", "ws://8.8.8.8/", "unix:///run/docker.sock"),
    *("http://user:secret@8.8.8.8/", "http://8.8.8.8:22/", "http://8.8.8.8:5432/", "http://8.8.8.8\\@127.0.0.1/"),
    *("http://127.0.0.1#@8.8.8.8/", "http://[fe80::1%25eth0]/", "http:///path", "//8.8.8.8/", "http://8.8.8.8 /"),
    "http://8.8.8.8/\r\nHost: inside",
)
OPEN = Reach(hosts=("*",))


async def _resolve(host: str, port: int) -> Sequence[str]:
    return NAMES.get(host) or await look_up(host, port)


async def _outcome(out: Egress, ask: Ask, within: Iterable[str] = ("*",)) -> str:
    try:
        answer = await out.send(ask, within=within)
    except EgressRefused:
        return "refused"
    except HttpFailed as error:
        return f"left: {error}"
    return f"answered {answer.status}"


def _get(address: str, **headers: str) -> Ask:
    return Ask(method="GET", address=address, headers=headers)


async def test_no_inner_address_is_reached() -> None:
    """Of 60 addresses that lead inside or nowhere, however they are written, 60 are refused and no packet leaves."""
    tries = [f"http://{host}/" for host in (*LITERALS, *NAMES)] + list(ODD)
    async with Egress(OPEN, resolve=_resolve) as out:
        with no_connections() as left:
            found = {address: await _outcome(out, _get(address)) for address in tries}

    assert len(tries) >= 60
    assert {} == {address: outcome for address, outcome in found.items() if outcome != "refused"}
    assert [] == left


async def test_without_the_check_of_addresses_they_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tries are real: with the guard removed, each of these would have sent a packet."""
    monkeypatch.setattr(module, "is_public", lambda address: True)
    tries = [f"http://{host}/" for host in ("127.0.0.1", "2130706433", "0x7f.1", "169.254.169.254", *NAMES)]
    async with Egress(OPEN, resolve=_resolve) as out:
        with no_connections() as left:
            found = [await _outcome(out, _get(address)) for address in tries]

    assert "refused" not in found
    assert len(left) >= len(tries)


async def test_a_name_is_looked_up_once() -> None:
    """A name that changes its address between check and connection gains nothing: the checked address is used."""
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]])
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    async with Egress(OPEN, resolve=rebinding) as out:
        with no_connections() as left:
            first = await _outcome(out, _get("http://rebinding.example/"))
            second = await _outcome(out, _get("http://rebinding.example/"))

    assert ["8.8.8.8"] == left
    assert first.startswith("left")
    assert second == "refused"
    assert ["rebinding.example"] * 2 == asked


@pytest.mark.parametrize("within", [(), ("other.example",), ("*.api.example",), ("api.example:8443",)])
async def test_a_graph_only_narrows(within: tuple[str, ...]) -> None:
    """What the graph does not name is refused, though the operator allows it."""
    async with Egress(OPEN, resolve=_resolve) as out:
        with no_connections() as left:
            assert await _outcome(out, _get("https://api.example/"), within) == "refused"

    assert [] == left


async def test_a_graph_never_widens() -> None:
    """What the operator does not name is refused, though the graph does."""
    async with Egress(Reach(hosts=("api.example",)), resolve=_resolve) as out:
        with no_connections() as left:
            found = [await _outcome(out, _get(f"https://{host}/"), ["*"]) for host in ("8.8.8.8", "x.api.example")]

    assert ["refused", "refused"] == found
    assert [] == left


def _near(port: int, **more: object) -> Reach:
    """A reach that holds a server of the test on loopback, and any public host."""
    here = f"shop.example:{port}"
    return Reach(hosts=(here, "*"), inside=(here,), own=(("127.0.0.1", 5432),))


async def _home(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"] if host == "shop.example" else await _resolve(host, port)


REDIRECTS = (
    *("http://127.0.0.1/", "http://169.254.169.254/latest/", "http://[::1]/", "http://other.example/"),
    *("//169.254.169.254/", "https://metadata.google.internal/", "http://shop.example:5432/", "http://2130706433/"),
    *("file:///etc/passwd", "gopher://shop.example/", "http://me@shop.example/", "/loop", "http:\\\\127.0.0.1\\"),
    *("http://[::1", "http://shop.example:abc/"),
)


@pytest.mark.parametrize("to", REDIRECTS)
async def test_no_redirect_leads_elsewhere(to: str) -> None:
    """A redirect to another host, port, scheme or inner address, or round and round, is refused."""
    async with (
        serving(lambda asked: reply(302, headers={"location": to})) as server,
        Egress(_near(server.port), resolve=_home) as out,
    ):
        outcome = await _outcome(out, _get(f"http://shop.example:{server.port}/loop"), ["*", _rule(server.port)])

    assert "refused" == outcome
    assert len(server.asked) == (4 if to == "/loop" else 1)


async def test_no_secret_follows_a_redirect() -> None:
    """A redirect on the same host is followed, without authorization and cookies."""

    def answer(asked: Asked) -> bytes:
        return reply(302, headers={"location": "/there"}) if asked.path == "/here" else reply(body=b"found")

    async with serving(answer) as server, Egress(_near(server.port), resolve=_home) as out:
        here = f"http://shop.example:{server.port}/here"
        found = await out.send(
            _get(here, Authorization="Bearer x", Accept="text/plain"), within=["*", _rule(server.port)]
        )

    first, second = server.asked
    assert (b"found", "Bearer x") == (found.body, first.headers["authorization"])
    assert ("text/plain", False) == (second.headers["accept"], "authorization" in second.headers)


def _rule(port: int) -> str:
    return f"shop.example:{port}"


async def test_an_effect_is_not_sent_twice_by_a_redirect() -> None:
    """The redirect of a POST is its answer: nobody else decides that it is made again."""
    async with (
        serving(lambda asked: reply(307, headers={"location": "/again"})) as server,
        Egress(_near(server.port), resolve=_home) as out,
    ):
        ask = Ask(method="POST", address=f"http://shop.example:{server.port}/", headers={}, body=b"{}")
        found = await out.send(ask, within=[_rule(server.port)])

    assert (307, 1) == (found.status, len(server.asked))


async def test_our_own_services_are_nobodys() -> None:
    """Postgres and Temporal are refused even where the operator allows the host and its inner address."""
    async with serving(lambda asked: reply(body=b"rows")) as server:
        here = _rule(server.port)
        reach = Reach(hosts=(here,), inside=(here,), own=(("127.0.0.1", server.port),))
        async with Egress(reach, resolve=_home) as out:
            assert await _outcome(out, _get(f"http://{here}/"), [here]) == "refused"

    assert [] == server.asked


async def _body(coding: str | None, body: bytes, limits: Limits) -> Fetched:
    headers = {} if coding is None else {"content-encoding": coding}
    async with (
        serving(lambda asked: reply(body=body, headers=headers)) as server,
        Egress(_near(server.port), limits, resolve=_home) as out,
    ):
        return await out.send(_get(f"http://{_rule(server.port)}/"), within=[_rule(server.port)])


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(bytes(9_000_000), 9)),
        ("deflate", zlib.compress(bytes(9_000_000), 9)),
        (None, bytes(100_001)),
        ("br", b"anything"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"twice"))),
        ("gzip", gzip.compress(b"cut short")[:-9]),
        ("gzip", b"no gzip at all"),
    ],
)
async def test_a_bomb_is_cut_at_its_limit(coding: str | None, body: bytes) -> None:
    """9 MB in 9 kB, too much, an encoding that was not asked for, or a broken one: none is taken in."""
    with pytest.raises(HttpFailed) as failed:
        await _body(coding, body, Limits(body_bytes=100_000))

    assert failed.value.kind in ("too_large", "malformed")


async def test_what_fits_is_decompressed() -> None:
    """An answer within its limit arrives whole."""
    found = await _body("gzip", gzip.compress(b"x" * 100_000), Limits(body_bytes=100_000))

    assert b"x" * 100_000 == found.body


@pytest.mark.parametrize(
    "answer",
    [
        reply(headers={f"h{index}": "x" for index in range(150)}),
        reply(headers={"h": "x" * 50_000}),
        b"no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
    ],
)
async def test_an_answer_out_of_bounds_is_a_named_failure(answer: bytes) -> None:
    """Too many headers, too large ones, no HTTP, a cut body: each is told as such."""
    async with serving(lambda asked: answer) as server, Egress(_near(server.port), resolve=_home) as out:
        with pytest.raises(HttpFailed):
            await out.send(_get(f"http://{_rule(server.port)}/"), within=[_rule(server.port)])


async def test_a_silent_server_is_left() -> None:
    """A server that never answers is waited for as long as the limit says."""
    async with (
        serving(lambda asked: b"") as server,
        Egress(_near(server.port), Limits(total_s=0.2), resolve=_home) as out,
    ):
        with pytest.raises(HttpFailed) as failed:
            await out.send(_get(f"http://{_rule(server.port)}/"), within=[_rule(server.port)])

    assert "timeout" == failed.value.kind


async def test_no_cookie_is_kept() -> None:
    """What a server sets in one exchange is not sent in the next, which may be another run's."""
    async with (
        serving(lambda asked: reply(headers={"set-cookie": "who=ada"})) as server,
        Egress(_near(server.port), resolve=_home) as out,
    ):
        for _ in range(2):
            await out.send(_get(f"http://{_rule(server.port)}/"), within=[_rule(server.port)])

    assert [False, False] == ["cookie" in asked.headers for asked in server.asked]


@pytest.mark.parametrize(
    "headers",
    [{"Host": "inside"}, {"Content-Length": "1"}, {"X": "a\r\nHost: b"}, {"a b": "c"}, {"X": "1", "x": "2"}],
)
async def test_no_header_changes_where_a_request_goes(headers: dict[str, str]) -> None:
    """Host, length, line breaks and doubled names are refused before anything is sent."""
    async with Egress(OPEN, resolve=_resolve) as out:
        with no_connections() as left:
            outcome = await _outcome(out, Ask(method="GET", address="http://8.8.8.8/", headers=headers))

    assert ("refused", []) == (outcome, left)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and certificates of the environment change nothing."""
    async with serving(lambda asked: reply(body=b"direct")) as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        async with Egress(_near(server.port), resolve=_home) as out:
            found = await out.send(_get(f"http://{_rule(server.port)}/"), within=[_rule(server.port)])

    assert b"direct" == found.body
