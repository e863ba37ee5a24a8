"""The Messages API of Anthropic as bytes: our request in the vendor's words, the vendor's reply in ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, JsonValue

from vertebra.providers.errors import unknown_stop
from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.llm import (
    AssistantMessage,
    FinishReason,
    ModelReply,
    ModelRequest,
    ModelUsage,
    Spoken,
    ToolMessage,
    UserMessage,
)
from vertebra.schemas.record import Recorded

_FINISHED: dict[str, FinishReason] = {
    "end_turn": "completed",
    "stop_sequence": "completed",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refused",
}


class _Block(Recorded):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: JsonValue = None


class _Reasoning(Recorded):
    thinking_tokens: int = Field(default=0, ge=0)


class _Usage(Recorded):
    input_tokens: int = Field(default=0, ge=0)
    cache_read_input_tokens: int | None = Field(default=None, ge=0)
    cache_creation_input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    output_tokens_details: _Reasoning | None = None


class _Message(Recorded):
    """The parts of the vendor's reply that we use, checked: the vendor's own client lets any 200 body through."""

    type: Literal["message"]
    id: str
    model: str
    content: tuple[_Block, ...]
    stop_reason: str
    usage: _Usage = _Usage()


def wire_request(request: ModelRequest) -> dict[str, Json]:
    """The request as the vendor's client takes it for the Messages API."""
    wire: dict[str, Json] = {
        "model": request.model,
        "max_tokens": request.max_output_tokens,
        "messages": list(_turns(request.messages)),
    }
    if request.system:
        wire["system"] = request.system
    if request.temperature_text is not None:
        # the vendor's client no longer knows the word, its newer models refuse it: that is the author's to hear
        wire["extra_body"] = {"temperature": float(request.temperature_text)}
    if request.tools:
        wire["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": json.loads(tool.input_schema_json)}
            for tool in request.tools
        ]
    if (schema := _expressible(request.output_schema_json)) is not None:
        wire["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return wire


def _turns(messages: tuple[Spoken, ...]) -> Iterator[Json]:
    """User and assistant in turn: neighbouring user texts and tool answers become one message, as the vendor asks."""
    role, blocks = "", list[Json]()
    for message in messages:
        speaker = "assistant" if isinstance(message, AssistantMessage) else "user"
        if speaker != role:
            if blocks:
                yield {"role": role, "content": blocks}
            role, blocks = speaker, []
        blocks.extend(_blocks(message))
    if blocks:
        yield {"role": role, "content": blocks}


def _blocks(message: Spoken) -> Iterator[Json]:
    if isinstance(message, ToolMessage):
        yield {
            "type": "tool_result",
            "tool_use_id": message.tool_call,
            "content": message.text,
            "is_error": message.failed,
        }
        return
    if message.text:  # the vendor refuses empty texts
        yield {"type": "text", "text": message.text}
    if not isinstance(message, UserMessage):
        for call in message.tool_calls:
            yield {"type": "tool_use", "id": call.id, "name": call.tool, "input": json.loads(call.arguments_json)}


def _expressible(schema_json: str | None) -> Json:
    """The schema as the vendor's structured mode takes it, else None: the prompt and our own check must then do."""
    if schema_json is None:
        return None
    schema = json.loads(schema_json)
    if not _is_closed(schema):
        return None
    import anthropic  # vendor SDKs take a second to import: only where they are used

    wire: Json = anthropic.transform_schema(schema)  # limits that the mode lacks move into descriptions
    return wire


def _is_closed(schema: Json) -> bool:
    """Whether every part states its type and every object its fields: the structured mode knows no open ones."""
    if not isinstance(schema, dict):
        return False
    if "enum" in schema:
        return True
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties")
        return isinstance(fields, dict) and bool(fields) and all(map(_is_closed, fields.values()))
    if kind == "array":
        return _is_closed(schema.get("items"))
    return isinstance(kind, str)


def read_reply(raw: Json, request: ModelRequest, at: str) -> ModelReply:
    """The vendor's reply, checked. Raises ValidationError, ProviderFailure."""
    message = _Message.model_validate(raw)
    assert isinstance(raw, dict)
    finished = _FINISHED.get(message.stop_reason)
    if finished is None:
        raise unknown_stop(message.stop_reason, at)
    return ModelReply(
        content="".join(block.text for block in message.content if block.type == "text"),
        tool_calls=tuple(
            ToolCall(id=block.id, tool=block.name, arguments=block.input)
            for block in message.content
            if block.type == "tool_use"
        ),
        usage=_usage(message.usage, raw.get("usage")),
        finish_reason=finished,
        provider=request.provider,
        model=message.model,
        request_id=message.id,
    )


def _usage(usage: _Usage, raw: Json) -> ModelUsage:
    return ModelUsage(
        input=usage.input_tokens,
        cache_read=usage.cache_read_input_tokens or 0,
        cache_write=usage.cache_creation_input_tokens or 0,
        output=usage.output_tokens,
        reasoning=usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0,
        raw_json=json_text(raw),
    )
