"""An adapter, and how to tell its vendor what to do next: scripted, on our own server, on the imitation."""

from __future__ import annotations

import json
from typing import Protocol

import pytest

from tests.contracts.vendors.imitation import Imitation
from tests.contracts.vendors.wire_server import Answer, WireServer
from tests.contracts.vendors.words import KEY, PLAIN, AnthropicWords, OpenAIWords, Usage
from vertebra.providers.protocol import Place, Provider
from vertebra.providers.scripted import ScriptedProvider
from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import FailureKind, ProviderFailure
from vertebra.schemas.llm import ModelReply, ModelRequest, UserMessage

PATIENCE_S = 60.0
"""For an answer that comes: the first call of a session takes seconds, and many where the machine is busy."""


class Rig(Protocol):
    """One vendor at hand."""

    provider: Provider
    request: ModelRequest

    def says(self, text: str, stop: str = "completed", usage: Usage = PLAIN) -> None: ...

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

    def says(self, text: str, stop: str = "completed", usage: Usage = PLAIN) -> None:
        self._tell({"reply": text, "finish_reason": stop, "usage": dict(usage)})

    def asks(self, *calls: ToolCall) -> None:
        self._tell({"tool_calls": [{"id": call.id, "tool": call.tool, "args": call.arguments} for call in calls]})

    def fails(self, kind: FailureKind, retry_after_s: int | None = None) -> None:
        if kind == "timeout":
            self._tell({"reply": "late", "delay": "60s"})
            return
        fail: dict[str, Json] = {"kind": kind}
        self._tell({"fail": fail if retry_after_s is None else {**fail, "retry_after": f"{retry_after_s}s"}})

    def sold(self) -> int | None:
        return None


class WireRig:
    """A vendor's adapter against our own server."""

    def __init__(self, words: AnthropicWords | OpenAIWords, server: WireServer) -> None:
        self.words = words
        self.server = server
        self.endpoint = server.url + words.path
        self.provider: Provider = words.adapter({self.endpoint: words.secret})
        self.request = a_request(words.name, self.endpoint)

    def says(self, text: str, stop: str = "completed", usage: Usage = PLAIN) -> None:
        self.server.answer = Answer(body=self.words.reply(text, (), stop, usage))

    def asks(self, *calls: ToolCall) -> None:
        self.server.answer = Answer(body=self.words.reply("", calls, "tool_calls", PLAIN))

    def fails(self, kind: FailureKind, retry_after_s: int | None = None) -> None:
        headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
        if kind == "timeout":
            self.server.answer = Answer(how="silent")
        elif kind == "network":
            self.server.answer = Answer(body=b'{"type": "message"}', how="cut")
        elif kind == "malformed":
            self.server.answer = Answer(body=b'{"type": "mess')
        else:
            told = self.words.errors[kind]
            self.server.answer = Answer(told.status, self.words.error(told), headers)

    def sold(self) -> int | None:
        return len(self.server.seen)


class ImitationRig:
    """A vendor's adapter against the imitation of the vendors, which somebody else keeps true to the wire."""

    def __init__(self, words: AnthropicWords | OpenAIWords, imitation: Imitation) -> None:
        self._words = words
        self._imitation = imitation
        imitation.reset()
        endpoint = imitation.url + words.path
        self.provider: Provider = words.adapter({endpoint: words.secret})
        self.request = a_request(words.name, endpoint)

    def says(self, text: str, stop: str = "completed", usage: Usage = PLAIN) -> None:
        finish = {"completed": "stop"}.get(stop, stop)
        self._imitation.answers({"content": text, "finishReason": finish, "usage": self._words.usage(usage)})

    def asks(self, *calls: ToolCall) -> None:
        asked: list[Json] = [
            {"id": call.id, "name": call.tool, "arguments": json.dumps(call.arguments)} for call in calls
        ]
        self._imitation.answers({"toolCalls": asked, "usage": self._words.usage(PLAIN)})

    def fails(self, kind: FailureKind, retry_after_s: int | None = None) -> None:
        chaos: dict[FailureKind, dict[str, Json]] = {
            "timeout": {"latencyMs": 30_000},
            "network": {"disconnectRate": 1},
            "malformed": {"malformedRate": 1},
        }
        if kind in chaos:
            self._imitation.answers({"content": "x", "usage": self._words.usage(PLAIN)}, chaos[kind])
            return
        told = self._words.errors[kind]
        response: dict[str, Json] = {"status": told.status, "error": {"message": told.message, "type": told.type}}
        if told.code is not None:
            response["error"] = {"message": told.message, "type": told.type, "code": told.code}
        if retry_after_s is not None:
            response["retryAfter"] = retry_after_s
        self._imitation.answers(response)

    def sold(self) -> int | None:
        return self._imitation.asked()


def a_request(provider: str, endpoint: str | None) -> ModelRequest:
    return ModelRequest(
        provider=provider, model="large", endpoint=endpoint, system="Be brief.", messages=(UserMessage(text="Hello?"),)
    )


async def complete(rig: Rig, request: ModelRequest | None = None, timeout_s: float = PATIENCE_S) -> ModelReply:
    """One call, as an activity makes it."""
    place = Place(run="r", node="node", visit=1, turn=1, call_id="CALL", attempt=1)
    return await rig.provider.complete(request or rig.request, place, timeout_s=timeout_s, key=KEY)


async def failing(rig: Rig, timeout_s: float = PATIENCE_S) -> ProviderFailure:
    """How one call fails."""
    with pytest.raises(ProviderFailure) as caught:
        await complete(rig, timeout_s=timeout_s)
    return caught.value
