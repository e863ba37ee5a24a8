"""What a model is asked and what it answers, the same for every vendor; a call is known by its request's bytes."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Canonical, Digest, canonical_bytes, digest_of, json_text
from vertebra.schemas.money import Usage
from vertebra.schemas.record import Recorded

FinishReason = Literal["completed", "length", "content_filter", "tool_calls", "refused"]


class UserMessage(Recorded):
    """Text of the author's prompt, rendered."""

    role: Literal["user"] = "user"
    text: str


class Asked(Recorded):
    """A tool call inside a transcript; its arguments may hold floats, so they are kept as JSON text."""

    id: str
    tool: str
    arguments_json: str

    @classmethod
    def of(cls, call: ToolCall) -> Asked:
        """The same call as text. Raises ValueError where the arguments hold NaN or infinity."""
        return cls(id=call.id, tool=call.tool, arguments_json=json_text(call.arguments))


class AssistantMessage(Recorded):
    """What the model said and asked for in an earlier turn."""

    role: Literal["assistant"] = "assistant"
    text: str = ""
    tool_calls: tuple[Asked, ...] = ()


class ToolMessage(Recorded):
    """A tool's answer that the model is to read."""

    role: Literal["tool"] = "tool"
    tool_call: str
    """The model's own id of the tool call."""
    text: str
    failed: bool = False


Spoken = Annotated[UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Transcript(Recorded):
    """An agent's conversation between two turns, stored by its hash: history holds only the reference."""

    v: int = 1
    system: str
    messages: tuple[Spoken, ...]


class OfferedTool(Recorded):
    """A tool as the model sees it."""

    name: str
    description: str
    input_schema_json: str


class ModelRequest(Recorded):
    """One request to a model. Its canonical bytes hold no time, no attempt and no secret."""

    v: int = 1
    provider: str
    model: str
    temperature_text: str | None = None
    max_output_tokens: int = 2048
    endpoint: str | None = None
    system: str = ""
    messages: tuple[Spoken, ...]
    tools: tuple[OfferedTool, ...] = ()
    output_schema_json: str | None = None
    """JSON schema of the answer; None asks for plain text."""
    prompt_pin: Digest | None = None
    tool_pins: dict[str, Digest] = {}

    @cached_property
    def canonical(self) -> bytes:
        """The bytes that are hashed and shown. Raises NotCanonical where a text holds a lone surrogate."""
        plain: Canonical = self.model_dump(mode="python")
        return canonical_bytes(plain)

    @cached_property
    def digest(self) -> Digest:
        """The call digest."""
        return digest_of(self.canonical)

    @property
    def text(self) -> str:
        """What was said so far, a message a line; without the system text, which is the same for every request."""
        return "\n".join(message.text for message in self.messages)


class ModelUsage(Usage):
    """What the vendor says that one call used."""

    reasoning: int = Field(default=0, ge=0)
    """Part of `output` that was reasoning; for display, never priced a second time."""
    raw_json: str = "{}"
    """The vendor's own statement, as JSON text."""

    @property
    def prompt_tokens(self) -> int:
        return self.prompt

    @property
    def completion_tokens(self) -> int:
        return self.output

    @property
    def total_tokens(self) -> int:
        return self.tokens

    @property
    def usable(self) -> bool:
        """Every request and every reply costs something: zeros mean that the vendor told us nothing."""
        return self.prompt > 0 and self.output > 0


class ModelReply(Recorded):
    """One answer of a model, paid for. `finish_reason` says whether it is one that may be used."""

    v: int = 1
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: ModelUsage
    finish_reason: FinishReason
    provider: str
    model: str
    request_id: str | None = None
