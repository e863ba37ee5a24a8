"""What an http node sends, what it keeps of the answer, and how one attempt ends by what went wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from tests import make
from tests.servers import Asked, Heard, reply, serving
from vertebra.activities import http
from vertebra.activities.performed import Caller, Performed
from vertebra.activities.world import World
from vertebra.boundary.egress import Egress, Limits, Reach
from vertebra.providers.registry import Providers
from vertebra.schemas.call import CallInput
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadArguments, EgressRefused, PermissionDenied, VertebraError
from vertebra.schemas.graph import CompiledGraph, Effect, HttpCall, Node, Spine
from vertebra.tools.registry import Registry

CANARY = "sk-canary-9471"
KEY = "secret://env/SHOP_KEY"


@dataclass
class Shop:
    """A host of the test's own, and a world that may reach it as `shop.example`."""

    heard: Heard
    world: World
    answer: bytes = field(default_factory=lambda: reply(body=b"{}", headers={"content-type": "application/json"}))

    @property
    def host(self) -> str:
        return f"shop.example:{self.heard.port}"

    def node(self, method: str = "GET", path: str = "/", effect: Effect = "pure", **call: Any) -> Node:
        call.setdefault("address", f"http://{self.host}{path}")
        return make.http("ask", HttpCall(method=method, **call), effect=effect)

    def graph(self, node: Node) -> CompiledGraph:
        return make.graph([node]).model_copy(update={"spine": Spine(hosts=(self.host, "*"))})

    async def ask(
        self, node: Node, values: Mapping[str, Json] | None = None, counted: int = 0, timeout_s: int = 20
    ) -> Performed:
        """Prepare and send once."""
        graph = self.graph(node)
        request = CallInput(kind="http", node="ask", visit=1, values=dict(values or {}))
        prepared = await http.prepare(request, graph, node, "default", self.world)
        assert CANARY.encode() not in prepared.request
        caller = Caller("run", "default", "ask", 1, 1, "call-id", counted + 1, counted, timeout_s)
        return await http.perform(prepared, graph, node, caller, self.world)


async def _home(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"] if host in ("shop.example", "silent.example") else []


@asynccontextmanager
async def shopping(limits: Limits = Limits(body_bytes=100_000)) -> AsyncIterator[Shop]:  # noqa: B008
    def answer(asked: Asked) -> bytes:
        return shop.answer

    async with serving(answer) as heard:
        host = f"shop.example:{heard.port}"
        reach = Reach(hosts=(host, "shop.example:1", "other.example", "open.example"), inside=(host, "shop.example:1"))
        async with Egress(reach, limits, resolve=_home) as out:
            parts = dict.fromkeys(("pool", "artifacts", "audit_key", "seal_key", "cel", "prices"))
            world = World(
                **cast("dict[str, Any]", parts),
                seal_keys={},
                registry=Registry(()),
                providers=Providers(()),
                project=Path(),
                maildir=Path(),
                worker="test",
                now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
                secret={KEY: CANARY}.get,
                egress=out,
                egress_secrets=(f"{KEY}@{host}", f"{KEY}@open.example"),
            )
            shop = Shop(heard, world)
            yield shop


async def test_the_request_is_what_the_graph_and_the_run_say() -> None:
    """Template, headers, body, key and secret arrive as written; what a run gives stays one part of the address."""
    async with shopping() as shop:
        node = shop.node("POST", "/orders/{0}?for={1}", "keyed", headers={"Authorization": f"Bearer {KEY}"})
        given: dict[str, Json] = {"address.0": "../a/b", "address.1": "x&admin=1", "header.X-Trace": "t"}
        ended = await shop.ask(node, {**given, "body.order": 7, "body.note": "ü"})

    [asked] = shop.heard.asked
    assert "done" == ended.status
    assert ("POST", "/orders/..%2Fa%2Fb?for=x%26admin%3D1") == (asked.method, asked.path)
    assert (f"Bearer {CANARY}", "t", "call-id") == tuple(
        asked.headers[name] for name in ("authorization", "x-trace", "idempotency-key")
    )
    assert ({"order": 7, "note": "ü"}, "application/json") == (json.loads(asked.body), asked.headers["content-type"])


async def test_the_answer_is_kept_without_secrets() -> None:
    """Status, headers and parsed body are the result; cookies are left out, and a secret said back is masked."""
    async with shopping() as shop:
        body = json.dumps({"total": 5, "echo": f"key {CANARY}"}).encode()
        said = {"content-type": "application/json", "set-cookie": "a=b", "x-echo": CANARY}
        shop.answer = reply(body=body, headers=said)
        ended = await shop.ask(shop.node(headers={"X-Key": KEY}))

    assert ended.result is not None
    result = cast("dict[str, Any]", ended.result.result)
    assert (200, {"total": 5, "echo": "key [secret]"}) == (result["status"], result["body"])
    assert ("[secret]", False) == (result["headers"]["x-echo"], "set-cookie" in result["headers"])
    assert CANARY not in repr(ended)


NUMBERED = "".join(f"\\u{ord(letter):04x}" for letter in CANARY)


async def test_a_secret_said_back_in_other_letters_is_masked_too() -> None:
    """JSON can write each letter as a number, and a name is text as well as a value."""
    async with shopping() as shop:
        body = f'{{"a": ["{NUMBERED}"], "{NUMBERED}": "{base64.b64encode(CANARY.encode()).decode().rstrip("=")}"}}'
        shop.answer = reply(body=body.encode(), headers={"content-type": "application/json"})
        ended = await shop.ask(shop.node(headers={"X-Key": KEY}))

    assert ended.result is not None
    assert {"a": ["[secret]"], "[secret]": "[secret]"} == cast("dict[str, Any]", ended.result.result)["body"]


@pytest.mark.parametrize(
    "answer",
    [
        reply(body=f'{{"{NUMBERED}": 1, "{NUMBERED}": 2}}'.encode(), headers={"content-type": "application/json"}),
        reply(body=b"x", headers={"content-encoding": CANARY}),
        reply(302, headers={"location": f"http://{CANARY}.example/"}),
        reply(302, headers={"location": f"{CANARY}://shop.example/"}),
    ],
    ids=["a name that stands twice", "an encoding", "a redirect", "a scheme"],
)
async def test_no_error_quotes_a_secret_said_back(answer: bytes) -> None:
    """What cannot be read of an answer is named, and not repeated."""
    async with shopping() as shop:
        shop.answer = answer
        ended = await shop.ask(shop.node(headers={"X-Key": KEY}))

    assert ended.error is not None
    assert CANARY not in repr(ended)


@pytest.mark.parametrize(
    ("body", "media", "expected"),
    [
        (b"", "text/plain", None),
        ("grüß".encode(), "text/plain", "grüß"),
        (b"\xff\x00", "image/png", {"base64": "/wA=", "media_type": "image/png"}),
        (b'{"a": 1.5}', "application/problem+json; charset=utf-8", {"a": 1.5}),
    ],
)
async def test_a_body_is_read_by_its_type(body: bytes, media: str, expected: Json) -> None:
    """JSON is parsed, text is text, and the rest is base64."""
    async with shopping() as shop:
        shop.answer = reply(body=body, headers={"content-type": media})
        ended = await shop.ask(shop.node())

    assert ended.result is not None
    assert expected == cast("dict[str, Any]", ended.result.result)["body"]


@pytest.mark.parametrize(
    ("status", "effect", "counted", "ending"),
    [
        (404, "pure", 0, ("failed", "released")),
        (500, "pure", 0, ("again", "released")),
        (500, "keyed", 1, ("again", "released")),
        (500, "keyed", 2, ("failed", "released")),
        (500, "irreversible", 0, ("lost", "unknown")),
        (409, "irreversible", 0, ("failed", "released")),
        (429, "irreversible", 0, ("again", "released")),
        (429, "pure", 9, ("again", "released")),
        (302, "pure", 0, ("failed", "released")),
    ],
)
async def test_a_status_that_is_not_expected(
    status: int, effect: Effect, counted: int, ending: tuple[str, str]
) -> None:
    """A refusal is final, a broken host is tried again, a busy one is waited for, no effect goes twice unsure."""
    async with shopping() as shop:
        shop.answer = reply(status)
        ended = await shop.ask(shop.node("GET" if effect == "pure" else "POST", effect=effect), counted=counted)

    assert ending == (ended.status, ended.books)
    assert ended.error is not None
    assert str(status) in ended.error.message


@pytest.mark.parametrize(
    ("said", "delay"),
    [
        *(("7", 7.0), ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0), ("x", None), ("", None)),
        (f"Thu, 01 Jan {'9' * 30} 00:00:00 GMT", None),
    ],
)
async def test_the_delay_of_a_busy_host_is_kept(said: str, delay: float | None) -> None:
    """Seconds and dates are read, and such an attempt does not count."""
    async with shopping() as shop:
        shop.answer = reply(429, headers={"retry-after": said})
        ended = await shop.ask(shop.node())

    assert (delay, False) == (ended.retry_after_s, ended.counts)


async def test_an_expected_status_is_no_failure() -> None:
    """A 404 that the node expects is its result."""
    async with shopping() as shop:
        shop.answer = reply(404)
        ended = await shop.ask(shop.node(expect=("2xx", "404")))

    assert "done" == ended.status


CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"
NO_JSON = reply(body=b"{", headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    ("answer", "effect", "status"),
    [
        (CUT, "pure", "again"),
        (CUT, "irreversible", "lost"),
        (NO_JSON, "pure", "again"),
        (NO_JSON, "irreversible", "lost"),
        (reply(body=bytes(100_001)), "pure", "failed"),
        (reply(body=bytes(100_001)), "irreversible", "lost"),
        (b"", "pure", "again"),
        (b"", "irreversible", "lost"),
    ],
)
async def test_an_exchange_that_breaks(answer: bytes, effect: Effect, status: str) -> None:
    """A cut, unreadable, oversized or missing answer is tried again where that is safe, and parked where it is not."""
    async with shopping(Limits(body_bytes=100_000)) as shop:
        shop.answer = answer
        limit_s = 20 if answer else 1  # only silence is waited for to its end
        ended = await shop.ask(shop.node("GET" if effect == "pure" else "POST", effect=effect), timeout_s=limit_s)

    assert status == ended.status


@pytest.mark.parametrize(("effect", "status"), [("pure", "failed"), ("irreversible", "lost")])
async def test_an_answer_that_no_result_holds(effect: Effect, status: str) -> None:
    """Bytes grow by a third where they are kept as text: too large is a failure of the node, after it was sent."""
    async with shopping(Limits()) as shop:
        shop.answer = reply(body=b"\xff" * 900_000)
        ended = await shop.ask(shop.node("GET" if effect == "pure" else "POST", effect=effect))

    assert ended.error is not None
    assert (status, "HttpFailed") == (ended.status, ended.error.type)
    assert "the limit is 1000000" in ended.error.message


async def test_the_timeout_of_the_node_is_how_long_a_host_is_waited_for() -> None:
    """An author who gives a slow host more time than is usual is obeyed, also while the host says nothing."""
    async with shopping(Limits(total_s=0.1, read_s=0.1)) as shop:
        shop.answer = b""
        ended = await shop.ask(shop.node(), timeout_s=1)

    assert ended.error is not None
    assert "the exchange took longer than 1 s" == ended.error.message


async def test_what_never_left_may_be_tried_again() -> None:
    """No connection is no effect, so even an irreversible request goes again."""
    async with shopping() as shop:
        node = shop.node("POST", effect="irreversible", address="http://shop.example:1/")
        graph = shop.graph(node).model_copy(update={"spine": Spine(hosts=("shop.example:1",))})
        request = CallInput(kind="http", node="ask", visit=1)
        prepared = await http.prepare(request, graph, node, "default", shop.world)
        caller = Caller("run", "default", "ask", 1, 1, "call-id", 1, 0, timeout_s=5)
        ended = await http.perform(prepared, graph, node, caller, shop.world)

    assert ("again", "released") == (ended.status, ended.books)


Odd = Callable[[Shop], tuple[Node, dict[str, Json]]]
ODD: dict[str, tuple[type[VertebraError], Odd]] = {
    "a host outside the operator's list": (EgressRefused, lambda s: (s.node(address="http://elsewhere.example/"), {})),
    "a host that the run gives": (EgressRefused, lambda s: (s.node(address=None), {"address": "http://10.0.0.1/"})),
    "a secret of the run": (BadArguments, lambda s: (s.node(), {"header.X": KEY})),
    "another secret": (PermissionDenied, lambda s: (s.node(headers={"X": "secret://env/PATH"}), {})),
    "a secret for another host": (
        PermissionDenied,
        lambda s: (s.node(headers={"X": KEY}, address="https://other.example/"), {}),
    ),
    "a secret in the clear": (
        PermissionDenied,
        lambda s: (s.node(headers={"X": KEY}, address="http://open.example/"), {}),
    ),
    "a header with a line break": (EgressRefused, lambda s: (s.node(), {"header.X": "a\r\nHost: b"})),
    "the host header": (EgressRefused, lambda s: (s.node(headers={"Host": "inside"}), {})),
    "an object in the address": (BadArguments, lambda s: (s.node(path="/{0}"), {"address.0": {}})),
    "a step upwards": (BadArguments, lambda s: (s.node(path="/orders/{0}/items"), {"address.0": ".."})),
    "a step upwards in two parts": (
        BadArguments,
        lambda s: (s.node(path="/orders/{0}{1}?q={0}"), {"address.0": ".", "address.1": "."}),
    ),
    "a step on the spot": (BadArguments, lambda s: (s.node(path="/orders/{0}"), {"address.0": "."})),
    "an order without a name": (
        BadArguments,
        lambda s: (s.node("DELETE", "/orders/{0}", effect="keyed"), {"address.0": ""}),
    ),
    "a large body": (BadArguments, lambda s: (s.node("POST", effect="keyed"), {"body": "x" * 300_000})),
    "an edit of the method": (BadArguments, lambda s: (s.node(), {"method": "DELETE", "address": f"http://{s.host}/"})),
    "an edit with a secret": (
        BadArguments,
        lambda s: (s.node(), {"method": "GET", "address": f"http://{s.host}/", "headers": {"X": KEY}}),
    ),
    "an edit of the host": (EgressRefused, lambda s: (s.node(), {"method": "GET", "address": "http://127.0.0.1/"})),
}


@pytest.mark.parametrize("name", ODD)
async def test_what_may_not_be_sent_is_refused_before_anybody_is_asked(name: str) -> None:
    """Hosts, secrets, headers, sizes and edits out of bounds end in `prepare`: no approval, no money, no packet."""
    kind, made = ODD[name]
    async with shopping() as shop:
        node, values = made(shop)
        with pytest.raises(kind):
            await shop.ask(node, values)

    assert [] == shop.heard.asked


async def test_an_edited_request_is_sent_as_edited() -> None:
    """What an approver wrote instead is what leaves, with the node's own secret where the node sends it."""
    async with shopping() as shop:
        node = shop.node("POST", effect="irreversible", headers={"X-Key": KEY})
        edited: dict[str, Json] = {"address": f"http://{shop.host}/edited", "headers": {"X-Key": KEY}, "body": "plain"}
        await shop.ask(node, {"method": "POST", **edited})

    [asked] = shop.heard.asked
    assert ("/edited", CANARY, b"plain") == (asked.path, asked.headers["x-key"], asked.body)


async def test_a_missing_secret_sends_nothing() -> None:
    """A secret that the worker does not have ends the call, and names the secret."""
    async with shopping() as shop:
        shop.world = replace(shop.world, secret=lambda name: None)
        ended = await shop.ask(shop.node(headers={"X": KEY}))

    assert "failed" == ended.status
    assert ended.error is not None
    assert KEY in ended.error.message
    assert [] == shop.heard.asked
