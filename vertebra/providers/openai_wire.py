"""OpenAI's Chat Completions as bytes: our request in the vendor's words, the vendor's reply in ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from vertebra.providers.errors import unknown_stop
from vertebra.providers.exchange import MAX_REPLY_BYTES
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
from vertebra.schemas.strict_json import read_json

_FINISHED: dict[str, FinishReason] = {
    "stop": "completed",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}
_LENGTHS = ("minLength", "maxLength")
"""What the strict mode does not take."""


class _Function(Recorded):
    name: str
    arguments: str


class _Asked(Recorded):
    id: str
    type: Literal["function"] = "function"
    function: _Function


class _Said(Recorded):
    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_Asked, ...] | None = None


class _Choice(Recorded):
    message: _Said
    finish_reason: str


class _Input(Recorded):
    cached_tokens: int | None = Field(default=None, ge=0)


class _Output(Recorded):
    reasoning_tokens: int | None = Field(default=None, ge=0)


class _Usage(Recorded):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    total_tokens: int = Field(default=0, ge=0)
    prompt_tokens_details: _Input | None = None
    completion_tokens_details: _Output | None = None


class _Completion(Recorded):
    """The parts of the reply that we use, checked: the vendor's own client lets any 200 body through."""

    id: str | None = None
    model: str
    choices: tuple[_Choice, ...] = Field(min_length=1)
    usage: _Usage | None = None


def wire_request(request: ModelRequest) -> dict[str, Json]:
    """The request as the vendor's client takes it for Chat Completions."""
    wire: dict[str, Json] = {"model": request.model, "messages": list(_messages(request))}
    # the vendor's newer models refuse the old word, other servers know only that, and nobody takes both
    wire["max_completion_tokens" if _is_own(request.endpoint) else "max_tokens"] = request.max_output_tokens
    if request.temperature_text is not None:
        wire["temperature"] = float(request.temperature_text)
    if request.tools:
        wire["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": json.loads(tool.input_schema_json),
                },
            }
            for tool in request.tools
        ]
    if request.output_schema_json is not None:
        schema = json.loads(request.output_schema_json)
        strict = _strict(schema)
        form: Json = {"name": "output", "strict": strict is not None, "schema": schema if strict is None else strict}
        wire["response_format"] = {"type": "json_schema", "json_schema": form}
    return wire


def _is_own(endpoint: str | None) -> bool:
    """Whether this is the vendor itself, in whatever region."""
    host = "api.openai.com" if endpoint is None else urlsplit(endpoint).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def _messages(request: ModelRequest) -> Iterator[Json]:
    if request.system:
        yield {"role": "system", "content": request.system}
    for message in request.messages:
        yield _message(message)


def _message(message: Spoken) -> Json:
    if isinstance(message, UserMessage):
        return {"role": "user", "content": message.text}
    if isinstance(message, ToolMessage):
        # there is no flag for a failure: it has to be said
        text = f"The tool failed: {message.text}" if message.failed else message.text
        return {"role": "tool", "tool_call_id": message.tool_call, "content": text}
    said: dict[str, Json] = {"role": "assistant", "content": message.text or None}
    if message.tool_calls:
        said["tool_calls"] = [_call(message, index) for index in range(len(message.tool_calls))]
    return said


def _call(message: AssistantMessage, index: int) -> Json:
    call = message.tool_calls[index]
    return {"id": call.id, "type": "function", "function": {"name": call.tool, "arguments": call.arguments_json}}


def _strict(schema: Json) -> Json:
    """The schema as the strict mode takes it, else None: with parts left open the vendor only tries to keep to it.

    Every field is required there, so an optional one may be null, which our own check reads as left out.
    """
    if not isinstance(schema, dict) or not isinstance(kind := schema.get("type"), str):
        return None
    kept: dict[str, Json] = {name: value for name, value in schema.items() if name not in _LENGTHS}
    limits = [f"{name}: {schema[name]}" for name in _LENGTHS if name in schema]
    if limits:
        kept["description"] = " ".join([*([str(schema["description"])] if "description" in schema else []), *limits])
    if kind == "array":
        kept["items"] = _strict(schema.get("items"))
        return None if kept["items"] is None else kept
    return _strict_object(kept) if kind == "object" else kept


def _strict_object(schema: dict[str, Json]) -> Json:
    fields, required = schema.get("properties"), schema.get("required")
    if not isinstance(fields, dict) or not fields or not isinstance(required, list):
        return None
    strict = {name: _strict(field) for name, field in fields.items()}
    if None in strict.values():
        return None
    properties = {name: field if name in required else _nullable(field) for name, field in strict.items()}
    return {**schema, "properties": properties, "required": list(fields), "additionalProperties": False}


def _nullable(field: Json) -> Json:
    assert isinstance(field, dict)
    wider: dict[str, Json] = {**field, "type": [field["type"], "null"]}
    if isinstance(choices := field.get("enum"), list):
        wider["enum"] = [*choices, None]
    return wider


def read_reply(raw: Json, request: ModelRequest, at: str) -> ModelReply:
    """The vendor's reply, checked. Raises ValidationError, BadJson, ProviderFailure."""
    completion = _Completion.model_validate(raw)
    assert isinstance(raw, dict)
    choice = completion.choices[0]
    finished = _finished(choice, at)
    asked = choice.message.tool_calls if finished == "tool_calls" else None
    calls = tuple(_tool_call(call) for call in asked or ())
    return ModelReply(
        content=choice.message.content or choice.message.refusal or "",
        tool_calls=calls,
        usage=_usage(completion.usage or _Usage(), raw.get("usage")),
        finish_reason=finished,
        provider=request.provider,
        model=completion.model,
        request_id=completion.id,
    )


def _finished(choice: _Choice, at: str) -> FinishReason:
    finished = _FINISHED.get(choice.finish_reason)
    if finished is None:
        raise unknown_stop(choice.finish_reason, at)
    if finished == "completed" and choice.message.refusal:
        return "refused"
    if finished == "completed" and choice.message.tool_calls:  # some servers stop for no reason of their own
        return "tool_calls"
    return finished


def _tool_call(asked: _Asked) -> ToolCall:
    """The arguments are JSON inside a JSON text, written by the model."""
    text = asked.function.arguments or "{}"
    arguments = read_json(text, max_bytes=MAX_REPLY_BYTES, at="reply.arguments")
    return ToolCall(id=asked.id, tool=asked.function.name, arguments=arguments)


def _usage(usage: _Usage, raw: Json) -> ModelUsage:
    cached = (usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens) or 0
    reasoning = (usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens) or 0
    # a few servers leave reasoning out of the completion and count it in the total only
    output = max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens)
    # more from the cache than was read at all is nonsense: the dearer class is booked
    cached = cached if cached <= usage.prompt_tokens else 0
    return ModelUsage(
        input=usage.prompt_tokens - cached,
        cache_read=cached,
        output=output,
        reasoning=reasoning,
        raw_json=json_text(raw),
    )
