"""What every model vendor's adapter promises, proved on the scripted one and on Anthropic's over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal, Protocol

import pytest

from vertebra.providers.anthropic import SECRET, AnthropicProvider
from vertebra.providers.protocol import Place, Provider
from vertebra.providers.scripted import ScriptedProvider
from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import FailureKind, ProviderFailure
from vertebra.schemas.llm import (
    Asked,
    AssistantMessage,
    ModelReply,
    ModelRequest,
    OfferedTool,
    ToolMessage,
    UserMessage,
)

KEY = "sk-test-0123456789"
Usage = dict[str, int]


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


class MessagesServer:
    """A very small server of the Messages API: answers as told and keeps all it is sent."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.seen: list[Seen] = []
        self.endpoint = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
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
        answer = self.answer
        if answer.how == "silent":
            await asyncio.sleep(5)
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


class Rig(Protocol):
    """An adapter, and how to tell its vendor what to do next."""

    provider: Provider
    request: ModelRequest

    def says(self, text: str, stop: str = "completed", usage: Usage | None = None) -> None: ...

    def asks(self, *calls: ToolCall) -> None: ...

    def fails(self, kind: FailureKind, retry_after_s: int | None = None) -> None: ...

    def sold(self) -> int | None:
        """Requests that the vendor saw; None where it cannot know."""
        ...


class ScriptedRig:
    def __init__(self) -> None:
        self.request = a_request("scripted", None)
        self._tell({"reply": "hello"})

    def _tell(self, entry: Json) -> None:
        self.provider: Provider = ScriptedProvider({"node": [entry]})

    def says(self, text: str, stop: str = "completed", usage: Usage | None = None) -> None:
        tokens: Json = dict(usage or {"input": 10, "output": 5})
        self._tell({"reply": text, "finish_reason": stop, "usage": tokens})

    def asks(self, *calls: ToolCall) -> None:
        self._tell({"tool_calls": [{"id": call.id, "tool": call.tool, "args": call.arguments} for call in calls]})

    def fails(self, kind: FailureKind, retry_after_s: int | None = None) -> None:
        if kind == "timeout":
            self._tell({"reply": "late", "delay": "10s"})
            return
        fail: dict[str, Json] = {"kind": kind}
        self._tell({"fail": fail if retry_after_s is None else {**fail, "retry_after": f"{retry_after_s}s"}})

    def sold(self) -> int | None:
        return None


def error_body(kind: str, text: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}).encode()


FAILURES: dict[FailureKind, Answer] = {
    "network": Answer(body=b'{"type": "message"}', how="cut"),
    "timeout": Answer(how="silent"),
    "server": Answer(500, error_body("api_error", "Internal server error")),
    "malformed": Answer(200, b'{"type": "mess'),
    "rate_limited": Answer(429, error_body("rate_limit_error", "This request would exceed your rate limit")),
    "overloaded": Answer(529, error_body("overloaded_error", "Overloaded")),
    "bad_key": Answer(401, error_body("authentication_error", f"invalid key {KEY}")),
    "bad_request": Answer(400, error_body("invalid_request_error", "temperature: must be at most 1")),
    "context_too_long": Answer(400, error_body("invalid_request_error", "prompt is too long: 210000 tokens > 200000")),
    "content_filter": Answer(400, error_body("invalid_request_error", "Output blocked by content filtering policy")),
}
STOPS = {"completed": "end_turn", "length": "max_tokens", "refused": "refusal"}


class AnthropicRig:
    def __init__(self, server: MessagesServer) -> None:
        self.server = server
        self.provider: Provider = AnthropicProvider({server.endpoint: SECRET})
        self.request = a_request("anthropic", server.endpoint)

    def tell(self, content: Json, stop: str = "end_turn", usage: Usage | None = None) -> None:
        names = {"cache_read": "cache_read_input_tokens", "cache_write": "cache_creation_input_tokens"}
        tokens = usage or {"input": 10, "output": 5}
        message: Json = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "large-2026",
            "content": content,
            "stop_reason": stop,
            "usage": {names.get(name, f"{name}_tokens"): count for name, count in tokens.items()},
        }
        self.server.answer = Answer(body=json.dumps(message).encode())

    def says(self, text: str, stop: str = "completed", usage: Usage | None = None) -> None:
        self.tell([{"type": "text", "text": text}], STOPS[stop], usage)

    def asks(self, *calls: ToolCall) -> None:
        uses: list[Json] = [
            {"type": "tool_use", "id": call.id, "name": call.tool, "input": call.arguments} for call in calls
        ]
        self.tell(uses, "tool_use")

    def fails(self, kind: FailureKind, retry_after_s: int | None = None) -> None:
        answer = FAILURES[kind]
        headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
        self.server.answer = Answer(answer.status, answer.body, headers, answer.how)

    def sold(self) -> int | None:
        return len(self.server.seen)


def a_request(provider: str, endpoint: str | None) -> ModelRequest:
    return ModelRequest(
        provider=provider, model="large", endpoint=endpoint, system="Be brief.", messages=(UserMessage(text="Hello?"),)
    )


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    server = MessagesServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def anthropic(server: MessagesServer) -> AsyncIterator[AnthropicRig]:
    rig = AnthropicRig(server)
    yield rig
    await rig.provider.aclose()


@pytest.fixture(params=["scripted", "anthropic"])
def rig(request: pytest.FixtureRequest, anthropic: AnthropicRig) -> Rig:
    return anthropic if request.param == "anthropic" else ScriptedRig()


async def complete(rig: Rig, request: ModelRequest | None = None, timeout_s: float = 20) -> ModelReply:
    place = Place(run="r", node="node", visit=1, turn=1, call_id="CALL", attempt=1)
    return await rig.provider.complete(request or rig.request, place, timeout_s=timeout_s, key=KEY)


async def failing(rig: Rig, timeout_s: float = 20) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as caught:
        await complete(rig, timeout_s=timeout_s)
    return caught.value


# --- every adapter -----------------------------------------------------------------------------------------------


async def test_reply_has_every_field(rig: Rig) -> None:
    """A plain reply brings text, usage, provider, model, finish reason and a request id."""
    rig.says("Good day", usage={"input": 812, "output": 44})

    reply = await complete(rig)

    assert ("Good day", "completed", ()) == (reply.content, reply.finish_reason, reply.tool_calls)
    assert (812, 44, 856) == (reply.usage.prompt, reply.usage.output, reply.usage.tokens)
    assert rig.request.provider == reply.provider
    assert reply.model
    assert reply.request_id


async def test_cache_classes_are_kept_apart(rig: Rig) -> None:
    """Cached input is counted in its own classes, once, and the raw statement is kept."""
    rig.says("x", usage={"input": 10, "cache_read": 200, "cache_write": 30, "output": 5})

    usage = (await complete(rig)).usage

    assert (10, 200, 30, 5) == (usage.input, usage.cache_read, usage.cache_write, usage.output)
    assert 245 == usage.tokens
    assert {10, 200, 30, 5} == set(json.loads(usage.raw_json).values())


async def test_tool_calls_come_together(rig: Rig) -> None:
    """Several tool calls of one turn keep their ids, order and arguments."""
    asked = (
        ToolCall(id="c1", tool="search_docs", arguments={"query": "größe", "k": 5}),
        ToolCall(id="c2", tool="python", arguments={"code": "print(1.5)"}),
    )
    rig.asks(*asked)

    reply = await complete(rig)

    assert "tool_calls" == reply.finish_reason
    assert asked == reply.tool_calls


@pytest.mark.parametrize("stop", ["length", "refused"])
async def test_unfinished_replies_say_so(rig: Rig, stop: str) -> None:
    """A cut or refused reply is returned with its usage, since it is paid for, and is not called completed."""
    rig.says("half a", stop)

    reply = await complete(rig)

    assert stop == reply.finish_reason
    assert reply.usage.usable


@pytest.mark.parametrize(
    ("kind", "retryable", "counts"),
    [
        ("network", True, True),
        ("timeout", True, True),
        ("server", True, True),
        ("malformed", True, True),
        ("rate_limited", True, False),
        ("overloaded", True, False),
        ("bad_key", False, False),
        ("bad_request", False, False),
        ("context_too_long", False, False),
        ("content_filter", False, False),
    ],
)
async def test_failures_have_one_vocabulary(rig: Rig, kind: FailureKind, retryable: bool, counts: bool) -> None:
    """Each way to fail has its kind, says what to do, names the model, holds no key, and was asked for once."""
    rig.fails(kind)

    error = await failing(rig, timeout_s=0.3 if kind == "timeout" else 20)

    assert (kind, retryable, counts) == (error.kind, error.retryable, error.counts)
    assert f"{rig.request.provider}/large" == error.at
    assert error.do
    assert KEY not in str(error)
    assert rig.sold() in (None, 1)


async def test_delay_of_the_vendor_is_kept(rig: Rig) -> None:
    """The vendor's own delay travels with the failure."""
    rig.fails("rate_limited", retry_after_s=7)

    assert 7 == (await failing(rig)).retry_after_s


async def test_delay_is_capped(rig: Rig) -> None:
    """A delay of a day is no reason to wait for a day."""
    rig.fails("overloaded", retry_after_s=86_400)

    assert 600 == (await failing(rig)).retry_after_s


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
async def test_text_that_cannot_be_stored_is_malformed(rig: Rig, text: str) -> None:
    """NUL and lone surrogates never pass an adapter."""
    rig.says(text)

    assert "malformed" == (await failing(rig)).kind


async def test_one_request_per_call(rig: Rig) -> None:
    """Five calls at once are five requests."""
    rig.says("x")

    await asyncio.gather(*(complete(rig) for _ in range(5)))

    assert rig.sold() in (None, 5)


async def test_a_call_can_be_cancelled(rig: Rig) -> None:
    """Cancelling ends the call at once instead of waiting for the vendor."""
    rig.fails("timeout")
    call = asyncio.create_task(complete(rig))
    await asyncio.sleep(0.2)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


# --- Anthropic on the wire ---------------------------------------------------------------------------------------


async def test_request_on_the_wire(anthropic: AnthropicRig) -> None:
    """System text, tools, an answered parallel turn and the structured mode arrive as the Messages API wants them."""
    anthropic.says("{}")
    schema = {
        "type": "object",
        "properties": {"kind": {"type": "string", "enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 1}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    tool = OfferedTool(name="search", description="Finds", input_schema_json='{"type":"object","properties":{}}')
    asked = (
        Asked(id="c1", tool="search", arguments_json='{"k":0.5}'),
        Asked(id="c2", tool="search", arguments_json="{}"),
    )
    request = anthropic.request.model_copy(
        update={
            "temperature_text": "0.2",
            "max_output_tokens": 99,
            "tools": (tool,),
            "output_schema_json": json.dumps(schema),
            "messages": (
                UserMessage(text="Hello?"),
                AssistantMessage(tool_calls=asked),
                ToolMessage(tool_call="c1", text="one"),
                ToolMessage(tool_call="c2", text="no", failed=True),
            ),
        }
    )

    await complete(anthropic, request)

    body = anthropic.server.seen[0].body
    assert ("large", 99, 0.2, "Be brief.") == (body["model"], body["max_tokens"], body["temperature"], body["system"])
    assert [{"name": "search", "description": "Finds", "input_schema": {"type": "object", "properties": {}}}] == body[
        "tools"
    ]
    assert [
        {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "search", "input": {"k": 0.5}},
                {"type": "tool_use", "id": "c2", "name": "search", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "one", "is_error": False},
                {"type": "tool_result", "tool_use_id": "c2", "content": "no", "is_error": True},
            ],
        },
    ] == body["messages"]
    wanted = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer", "description": "{minimum: 1}"}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    assert {"format": {"type": "json_schema", "schema": wanted}} == body["output_config"]
    assert body.keys().isdisjoint({"stream", "metadata"})


async def test_open_schemas_do_not_use_the_structured_mode(anthropic: AnthropicRig) -> None:
    """The vendor's mode would force an open object to be empty; our own check of the reply does instead."""
    anthropic.says("{}")
    schema = {"type": "object", "properties": {"any": {"type": "object"}}, "additionalProperties": False}

    await complete(anthropic, anthropic.request.model_copy(update={"output_schema_json": json.dumps(schema)}))

    assert "output_config" not in anthropic.server.seen[0].body


async def test_environment_is_not_read(anthropic: AnthropicRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, address, headers and proxies of the environment reach neither client nor server."""
    for name, value in {
        "ANTHROPIC_API_KEY": "sk-environment",
        "ANTHROPIC_AUTH_TOKEN": "token-environment",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_CUSTOM_HEADERS": "X-Environment: yes\nAuthorization: Bearer sk-environment",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    anthropic.says("x")

    await complete(anthropic)

    headers = anthropic.server.seen[0].headers
    assert "environment" not in json.dumps(headers)
    assert KEY in json.dumps(headers)


async def test_key_goes_to_listed_addresses_only(server: MessagesServer) -> None:
    """An endpoint that the operator has not listed is refused before anything is sent."""
    rig = AnthropicRig(server)
    rig.provider = AnthropicProvider()

    error = await failing(rig)

    assert ("bad_request", []) == (error.kind, server.seen)
    assert server.endpoint in str(error)


@pytest.mark.parametrize("key", [None, "", "sk-a\nb", "schlüssel"])
async def test_missing_or_odd_key_sends_nothing(anthropic: AnthropicRig, key: str | None) -> None:
    """Without a usable key nothing leaves, whatever the environment holds."""
    place = Place(run="r", node="node", visit=1)

    with pytest.raises(ProviderFailure) as caught:
        await anthropic.provider.complete(anthropic.request, place, timeout_s=5, key=key)

    assert ("bad_key", []) == (caught.value.kind, anthropic.server.seen)


MESSAGE = b'{"id":"m","type":"message","role":"assistant","model":"l","stop_reason":"end_turn","content":%s,"usage":%s}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>gateway</html>",
        b'{"type":"message"}',
        b'{"type":"error"}',
        b"\xff\xfe",
        MESSAGE % (b'"text"', b"{}"),
        MESSAGE % (b'[{"type":"tool_use","id":"c","name":"t","input":{"x":NaN}}]', b"{}"),
        MESSAGE % (b'[{"type":"tool_use","id":"c","name":"t","input":{"x":1e400}}]', b"{}"),
        MESSAGE % (b'[{"type":"tool_use","id":"c","name":"t","input":{"a":1,"a":2}}]', b"{}"),
        MESSAGE % (b"[]", b'{"input_tokens":-5,"output_tokens":1}'),
        MESSAGE % (b"[" * 50_000, b"{}"),
    ],
)
async def test_bodies_that_are_no_reply(anthropic: AnthropicRig, body: bytes) -> None:
    """A 200 whose body is no message, or holds what JSON has no word for, is malformed and asked for once."""
    anthropic.server.answer = Answer(body=body)

    assert "malformed" == (await failing(anthropic)).kind
    assert 1 == len(anthropic.server.seen)


async def test_missing_usage_is_not_free(anthropic: AnthropicRig) -> None:
    """A reply without usage is marked as unusable for settling, instead of costing nothing."""
    anthropic.server.answer = Answer(body=MESSAGE % (b'[{"type":"text","text":"x"}]', b"{}"))

    assert not (await complete(anthropic)).usage.usable


async def test_unknown_stop_reason_is_no_success(anthropic: AnthropicRig) -> None:
    """A reason that this release does not know is never taken for a finished reply."""
    anthropic.tell([{"type": "text", "text": "x"}], "pondering")

    error = await failing(anthropic)

    assert ("bad_request", False) == (error.kind, error.retryable)
    assert "'pondering'" in str(error)


async def test_slow_drip_ends_at_the_limit(anthropic: AnthropicRig) -> None:
    """The time limit is for the whole reply: one byte now and then does not extend it."""
    anthropic.says("x")
    anthropic.server.answer.how = "drip"

    assert "timeout" == (await failing(anthropic, timeout_s=0.4)).kind


async def test_nobody_listens(anthropic: AnthropicRig) -> None:
    """A refused connection is a network failure."""
    await anthropic.server.stop()

    assert "network" == (await failing(anthropic)).kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(404, error_body("not_found_error", "model: large")), "bad_request"),
        (Answer(403, error_body("permission_error", "no")), "bad_key"),
        (Answer(413, error_body("request_too_large", "Request exceeds the maximum size")), "context_too_long"),
        (Answer(503, b"unavailable"), "server"),
        (Answer(500, error_body("overloaded_error", "Overloaded")), "overloaded"),
        (Answer(504, error_body("timeout_error", "Timed out")), "timeout"),
        (Answer(302, b"", {"location": "http://127.0.0.1:9/"}), "bad_request"),
    ],
)
async def test_other_statuses(anthropic: AnthropicRig, answer: Answer, kind: FailureKind) -> None:
    """Statuses without a test of their own map as the table says; a redirect is not followed."""
    anthropic.server.answer = answer

    assert kind == (await failing(anthropic)).kind
    assert 1 == len(anthropic.server.seen)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (lambda: "1.5", lambda delay: delay == 1.5),
        (lambda: formatdate(usegmt=True), lambda delay: delay == 0),
        (lambda: "Wed, 01 Jan 2200 00:00:00 GMT", lambda delay: delay == 600),
        (lambda: "nan", lambda delay: delay is None),
        (lambda: "-5", lambda delay: delay is None),
        (lambda: "soon", lambda delay: delay is None),
    ],
)
async def test_forms_of_retry_after(
    anthropic: AnthropicRig, header: Callable[[], str], expected: Callable[[float | None], bool]
) -> None:
    """Seconds and dates are understood; what cannot be read is no delay."""
    anthropic.fails("rate_limited")
    anthropic.server.answer.headers["retry-after"] = header()

    assert expected((await failing(anthropic)).retry_after_s)
