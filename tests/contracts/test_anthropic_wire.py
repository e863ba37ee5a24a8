"""Anthropic's Messages API, to the byte: what is sent, and which bodies are taken for a reply."""

from __future__ import annotations

import json

import pytest

from tests.contracts.vendors.rigs import WireRig, complete, failing
from tests.contracts.vendors.wire_server import Answer
from vertebra.schemas.llm import Asked, AssistantMessage, OfferedTool, ToolMessage, UserMessage


async def test_request_on_the_wire(anthropic: WireRig) -> None:
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


async def test_open_schemas_do_not_use_the_structured_mode(anthropic: WireRig) -> None:
    """The vendor's mode would force an open object to be empty; our own check of the reply does instead."""
    anthropic.says("{}")
    schema = {"type": "object", "properties": {"any": {"type": "object"}}, "additionalProperties": False}

    await complete(anthropic, anthropic.request.model_copy(update={"output_schema_json": json.dumps(schema)}))

    assert "output_config" not in anthropic.server.seen[0].body


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
async def test_bodies_that_are_no_reply(anthropic: WireRig, body: bytes) -> None:
    """A 200 whose body is no message, or holds what JSON has no word for, is malformed and asked for once."""
    anthropic.server.answer = Answer(body=body)

    assert "malformed" == (await failing(anthropic)).kind
    assert 1 == len(anthropic.server.seen)


async def test_missing_usage_is_not_free(anthropic: WireRig) -> None:
    """A reply without usage is marked as unusable for settling, instead of costing nothing."""
    anthropic.server.answer = Answer(body=MESSAGE % (b'[{"type":"text","text":"x"}]', b"{}"))

    assert not (await complete(anthropic)).usage.usable


async def test_unknown_stop_reason_is_no_success(anthropic: WireRig) -> None:
    """A reason that this release does not know is never taken for a finished reply."""
    anthropic.says("x", "pondering")

    error = await failing(anthropic)

    assert ("bad_request", False) == (error.kind, error.retryable)
    assert "'pondering'" in str(error)


async def test_cache_writes_are_a_class_of_their_own(anthropic: WireRig) -> None:
    """What was written to the cache is counted apart from what was read from it."""
    anthropic.says("x", usage={"input": 10, "cache_read": 200, "cache_write": 30, "output": 5})

    usage = (await complete(anthropic)).usage

    assert (10, 200, 30, 5, 245) == (usage.input, usage.cache_read, usage.cache_write, usage.output, usage.tokens)
    assert {10, 200, 30, 5} == set(json.loads(usage.raw_json).values())
