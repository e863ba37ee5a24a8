"""OpenAI's Chat Completions, to the byte: what is sent, and which bodies are taken for a reply."""

from __future__ import annotations

import json

import pytest

from tests.contracts.vendors.rigs import WireRig, complete, failing
from tests.contracts.vendors.wire_server import Answer
from tests.contracts.vendors.words import KEY
from vertebra.providers.openai_wire import wire_request
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import ProviderFailure
from vertebra.schemas.llm import Asked, AssistantMessage, OfferedTool, ToolMessage, UserMessage

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["a", "b"]},
        "text": {"type": "string", "maxLength": 9, "description": "What was said."},
        "notes": {
            "type": "array",
            "items": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": []},
        },
    },
    "required": ["text"],
    "additionalProperties": False,
}


async def test_request_on_the_wire(openai: WireRig) -> None:
    """System text, tools and an answered parallel turn arrive as Chat Completions want them, with the output cap."""
    openai.says("{}")
    tool = OfferedTool(name="search", description="Finds", input_schema_json='{"type":"object","properties":{}}')
    asked = (
        Asked(id="c1", tool="search", arguments_json='{"k":0.5}'),
        Asked(id="c2", tool="search", arguments_json="{}"),
    )
    request = openai.request.model_copy(
        update={
            "temperature_text": "0.2",
            "max_output_tokens": 99,
            "tools": (tool,),
            "messages": (
                UserMessage(text="Hello?"),
                AssistantMessage(tool_calls=asked),
                ToolMessage(tool_call="c1", text="one"),
                ToolMessage(tool_call="c2", text="no", failed=True),
            ),
        }
    )

    await complete(openai, request)

    seen = openai.server.seen[0]
    assert "/v1/chat/completions" == seen.path
    assert ("large", 99, 0.2) == (seen.body["model"], seen.body["max_tokens"], seen.body["temperature"])
    function = {"name": "search", "description": "Finds", "parameters": {"type": "object", "properties": {}}}
    assert [{"type": "function", "function": function}] == seen.body["tools"]
    assert [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"k":0.5}'}},
                {"id": "c2", "type": "function", "function": {"name": "search", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "The tool failed: no"},
    ] == seen.body["messages"]
    assert seen.body.keys().isdisjoint({"stream", "metadata", "user", "store", "response_format", "n"})


async def test_structured_mode_is_strict(openai: WireRig) -> None:
    """Every field is required there and an optional one may be null; lengths move into the description."""
    openai.says("{}")

    await complete(openai, openai.request.model_copy(update={"output_schema_json": json.dumps(SCHEMA)}))

    notes = {
        "type": "object",
        "properties": {"n": {"type": ["integer", "null"]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    wanted = {
        "type": "object",
        "properties": {
            "kind": {"type": ["string", "null"], "enum": ["a", "b", None]},
            "text": {"type": "string", "description": "What was said. maxLength: 9"},
            "notes": {"type": ["array", "null"], "items": notes},
        },
        "required": ["kind", "text", "notes"],
        "additionalProperties": False,
    }
    form = openai.server.seen[0].body["response_format"]
    assert {"type": "json_schema", "json_schema": {"name": "output", "strict": True, "schema": wanted}} == form


@pytest.mark.parametrize(
    "part", [{"type": "object"}, {"type": "array", "items": {}}, {"type": "object", "properties": {}}]
)
def test_open_schemas_are_not_strict(openai: WireRig, part: Json) -> None:
    """What leaves a part open is sent as it is, to be kept to as well as the model can; our own check follows."""
    schema: Json = {"type": "object", "properties": {"any": part}, "required": ["any"], "additionalProperties": False}

    wire = wire_request(openai.request.model_copy(update={"output_schema_json": json.dumps(schema)}))

    assert {"name": "output", "strict": False, "schema": schema} == wire["response_format"]["json_schema"]  # type: ignore[index,call-overload]  # JSON


@pytest.mark.parametrize(
    ("endpoint", "word"),
    [
        (None, "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://api.openai.com.example/v1", "max_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
    ],
)
def test_the_output_cap_has_the_word_of_its_server(openai: WireRig, endpoint: str | None, word: str) -> None:
    """The vendor's own newer models refuse the older word, and other servers know that one only."""
    wire = wire_request(openai.request.model_copy(update={"endpoint": endpoint, "max_output_tokens": 77}))

    assert {word: 77} == {name: value for name, value in wire.items() if name.startswith("max")}


COMPLETION = b'{"id":"c","model":"l","choices":[{"message":%s,"finish_reason":"%s"}],"usage":%s}'
TEXT = b'{"role":"assistant","content":"x"}'
CALL = b'{"tool_calls":[{"id":"c","type":"function","function":{"name":"t","arguments":%s}}]}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>gateway</html>",
        b'{"object":"chat.completion"}',
        b'{"error":{"message":"but it was a 200"}}',
        b"\xff\xfe",
        b'{"id":"c","model":"l","choices":[],"usage":null}',
        COMPLETION % (b'{"content":7}', b"stop", b"null"),
        COMPLETION % (CALL % b'"{\\"x\\": "', b"tool_calls", b"null"),
        COMPLETION % (CALL % b'"{\\"x\\": NaN}"', b"tool_calls", b"null"),
        COMPLETION % (CALL % b'"{\\"a\\": 1, \\"a\\": 2}"', b"tool_calls", b"null"),
        COMPLETION % (CALL % b"7", b"tool_calls", b"null"),
        COMPLETION % (TEXT, b"stop", b'{"prompt_tokens":-5,"completion_tokens":1}'),
        COMPLETION % (b"[" * 50_000, b"stop", b"null"),
    ],
)
async def test_bodies_that_are_no_reply(openai: WireRig, body: bytes) -> None:
    """A 200 whose body is no completion, or whose arguments are no JSON, is malformed and asked for once."""
    openai.server.answer = Answer(body=body)

    assert "malformed" == (await failing(openai)).kind
    assert 1 == len(openai.server.seen)


@pytest.mark.parametrize("usage", [b"null", b"{}", b'{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'])
async def test_missing_usage_is_not_free(openai: WireRig, usage: bytes) -> None:
    """A reply without usage is marked as unusable for settling, instead of costing nothing."""
    openai.server.answer = Answer(body=COMPLETION % (TEXT, b"stop", usage))

    assert not (await complete(openai)).usage.usable


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}', (10, 0, 5, 0)),
        (
            b'{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":4}}',
            (10, 0, 5, 4),
        ),
        (
            b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":25}}',
            (10, 0, 30, 25),
        ),
        (b'{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":8}}', (2, 8, 5, 0)),
        (b'{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":80}}', (10, 0, 5, 0)),
        (b'{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":null}}', (10, 0, 5, 0)),
    ],
)
async def test_usage_of_every_kind_of_server(openai: WireRig, usage: bytes, expected: tuple[int, ...]) -> None:
    """Reasoning that stands in the total only is booked too; a cache larger than the prompt is not believed."""
    openai.server.answer = Answer(body=COMPLETION % (TEXT, b"stop", usage))

    found = (await complete(openai)).usage

    assert expected == (found.input, found.cache_read, found.output, found.reasoning)


async def test_unknown_stop_reason_is_no_success(openai: WireRig) -> None:
    """A reason that this release does not know is never taken for a finished reply."""
    openai.says("x", "pondering")

    error = await failing(openai)

    assert ("bad_request", False) == (error.kind, error.retryable)
    assert "'pondering'" in str(error)


async def test_tool_calls_that_stop_for_no_reason_are_tool_calls(openai: WireRig) -> None:
    """Some servers say `stop` where they mean `tool_calls`, and leave the arguments of a call without any empty."""
    openai.server.answer = Answer(body=COMPLETION % (CALL % b'""', b"stop", b"null"))

    reply = await complete(openai)

    assert ("tool_calls", {}) == (reply.finish_reason, reply.tool_calls[0].arguments)


async def test_a_tool_call_that_was_cut_off_is_none(openai: WireRig) -> None:
    """At the output cap half a call is left: it is not carried out, and not called malformed, which would go again."""
    openai.server.answer = Answer(body=COMPLETION % (CALL % b'"{\\"query\\": \\"ref"', b"length", b"null"))

    reply = await complete(openai)

    assert ("length", ()) == (reply.finish_reason, reply.tool_calls)


NUMBERED = "".join(f"\\u{ord(letter):04x}" for letter in KEY)


def _asks(arguments: str) -> bytes:
    call: Json = {"id": "c", "type": "function", "function": {"name": "search", "arguments": arguments}}
    return COMPLETION % (json.dumps({"tool_calls": [call]}).encode(), b"tool_calls", b"null")


@pytest.mark.parametrize(
    "body",
    [
        COMPLETION % (b'{"content":"%s"}' % NUMBERED.encode(), b"stop", b"null"),
        COMPLETION % (b'{"content":"x"}', NUMBERED.encode(), b"null"),
        b'{"%s":1,"%s":2}' % (NUMBERED.encode(), NUMBERED.encode()),
        _asks(f'{{"text":"{NUMBERED}"}}'),
        _asks(f'{{"{NUMBERED}":1,"{NUMBERED}":2}}'),
    ],
    ids=["content", "a stop", "a name twice", "arguments", "a name twice in arguments"],
)
async def test_a_key_said_back_in_other_letters_is_in_no_reply(openai: WireRig, body: bytes) -> None:
    """JSON can write each letter as a number, and arguments are JSON within JSON."""
    openai.server.answer = Answer(body=body)

    try:
        said = (await complete(openai)).model_dump_json()
    except ProviderFailure as error:
        said = str(error)

    assert "sk-test" not in said
    assert NUMBERED not in said
