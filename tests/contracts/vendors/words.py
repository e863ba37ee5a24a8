"""How each vendor says things on the wire: replies, stop reasons, usage and errors, for every server of the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vertebra.providers import anthropic, openai
from vertebra.providers.exchange import VendorProvider
from vertebra.providers.protocol import Provider
from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import FailureKind

KEY = "sk-test-0123456789"
Usage = Mapping[str, int]
PLAIN: Usage = {"input": 10, "output": 5}


@dataclass(frozen=True)
class Told:
    """An error in the vendor's words."""

    status: int
    type: str
    message: str
    code: str | None = None


class Words(Protocol):
    """One vendor's way of speaking."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str:
        """What of an address is the vendor's to choose."""
        ...

    @property
    def stops(self) -> Mapping[str, str]: ...

    @property
    def errors(self) -> Mapping[FailureKind, Told]: ...

    def adapter(self, endpoints: Mapping[str, str | None]) -> Provider: ...

    def usage(self, usage: Usage) -> dict[str, Json]: ...

    def reply(self, text: str, calls: Sequence[ToolCall], stop: str, usage: Usage) -> bytes: ...

    def error(self, told: Told) -> bytes: ...


class AnthropicWords:
    name = anthropic.NAME
    secret = anthropic.SECRET
    path = ""
    stops: Mapping[str, str] = {
        "completed": "end_turn",
        "length": "max_tokens",
        "refused": "refusal",
        "tool_calls": "tool_use",
    }
    errors: Mapping[FailureKind, Told] = {
        "server": Told(500, "api_error", "Internal server error"),
        "rate_limited": Told(429, "rate_limit_error", "This request would exceed your rate limit"),
        "overloaded": Told(529, "overloaded_error", "Overloaded"),
        "bad_key": Told(401, "authentication_error", f"invalid key {KEY}"),
        "no_credit": Told(400, "invalid_request_error", "Your credit balance is too low to access the API"),
        "bad_request": Told(400, "invalid_request_error", "temperature: must be at most 1"),
        "context_too_long": Told(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000"),
        "content_filter": Told(400, "invalid_request_error", "Output blocked by content filtering policy"),
    }

    def adapter(self, endpoints: Mapping[str, str | None]) -> Provider:
        return VendorProvider(anthropic.VENDOR, endpoints)

    def usage(self, usage: Usage) -> dict[str, Json]:
        names = {"cache_read": "cache_read_input_tokens", "cache_write": "cache_creation_input_tokens"}
        return {names.get(name, f"{name}_tokens"): count for name, count in usage.items()}

    def reply(self, text: str, calls: Sequence[ToolCall], stop: str, usage: Usage) -> bytes:
        content: list[Json] = [{"type": "text", "text": text}] if text else []
        content += [{"type": "tool_use", "id": call.id, "name": call.tool, "input": call.arguments} for call in calls]
        message: Json = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "large-2026",
            "content": content,
            "stop_reason": self.stops.get(stop, stop),
            "usage": self.usage(usage),
        }
        return json.dumps(message).encode()

    def error(self, told: Told) -> bytes:
        error: Json = {"type": told.type, "message": told.message}
        return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()


class OpenAIWords:
    name = openai.NAME
    secret = openai.SECRET
    path = "/v1"
    stops: Mapping[str, str] = {"completed": "stop", "refused": "stop"}
    errors: Mapping[FailureKind, Told] = {
        "server": Told(500, "server_error", "The server had an error while processing your request"),
        "rate_limited": Told(429, "requests", "Rate limit reached for requests", "rate_limit_exceeded"),
        "overloaded": Told(503, "server_error", "The engine is currently overloaded, please try again later"),
        "bad_key": Told(401, "invalid_request_error", f"Incorrect API key provided: {KEY}", "invalid_api_key"),
        "no_credit": Told(429, "insufficient_quota", "You exceeded your current quota", "insufficient_quota"),
        "bad_request": Told(404, "invalid_request_error", "The model `large` does not exist", "model_not_found"),
        "context_too_long": Told(
            400,
            "invalid_request_error",
            "This model's maximum context length is 128000 tokens",
            "context_length_exceeded",
        ),
        "content_filter": Told(
            400, "invalid_request_error", "Rejected by our safety system", "content_policy_violation"
        ),
    }

    def adapter(self, endpoints: Mapping[str, str | None]) -> Provider:
        return VendorProvider(openai.VENDOR, endpoints)

    def usage(self, usage: Usage) -> dict[str, Json]:
        prompt = usage["input"] + usage.get("cache_read", 0)
        told: dict[str, Json] = {
            "prompt_tokens": prompt,
            "completion_tokens": usage["output"],
            "total_tokens": prompt + usage["output"],
        }
        if "cache_read" in usage:
            told["prompt_tokens_details"] = {"cached_tokens": usage["cache_read"]}
        return told

    def reply(self, text: str, calls: Sequence[ToolCall], stop: str, usage: Usage) -> bytes:
        refused = stop == "refused"
        message: dict[str, Json] = {
            "role": "assistant",
            "content": None if refused else text,
            "refusal": text if refused else None,
        }
        if calls:
            message["tool_calls"] = [self.call(call) for call in calls]
        completion: Json = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "large-2026",
            "choices": [{"index": 0, "message": message, "finish_reason": self.stops.get(stop, stop)}],
            "usage": self.usage(usage),
        }
        return json.dumps(completion).encode()

    def call(self, call: ToolCall) -> Json:
        return {
            "id": call.id,
            "type": "function",
            "function": {"name": call.tool, "arguments": json.dumps(call.arguments)},
        }

    def error(self, told: Told) -> bytes:
        error: Json = {"message": told.message, "type": told.type, "param": None, "code": told.code}
        return json.dumps({"error": error}).encode()
