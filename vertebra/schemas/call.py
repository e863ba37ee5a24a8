"""One effect on its way through the gate and back: what the engine sends, what history keeps, how it can end."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from vertebra.schemas.canonical import Digest
from vertebra.schemas.record import Recorded

CallKind = Literal["llm", "tool", "http", "code"]
HoldKind = Literal["approval", "top_up", "renewal"]


class ArtifactRef(Recorded):
    """A value stored by its SHA-256 instead of inline."""

    uri: str
    sha256: str
    size: int
    media_type: str = "application/json"


class ToolCall(Recorded):
    """A tool call that a model asked for. `arguments` is the model's own JSON, unchecked."""

    id: str
    tool: str
    arguments: JsonValue = None


class Message(Recorded):
    """One new message of a transcript: a tool's answer that the model is to read."""

    role: Literal["tool"] = "tool"
    tool_call: str
    tool: str
    content: JsonValue = None
    ref: ArtifactRef | None = None
    failed: bool = False


class Note(Recorded):
    """An envelope that no call of its own writes (routing, rules, human nodes). It travels with the next call."""

    node: str
    visit: int
    kind: Literal["task", "plan"]
    status: Literal["succeeded", "blocked", "skipped", "overridden", "cancelled", "failed"] = "succeeded"
    branch: str = ""
    next: tuple[str, ...] = ()
    result: JsonValue = None
    error: JsonValue = None


class CallInput(Recorded):
    """The argument of every gated activity. It names things; rights, limits and pins come from Postgres."""

    v: int = 1
    kind: CallKind
    node: str
    visit: int
    turn: int | None = None
    values: dict[str, JsonValue] = {}
    """Of `llm` and `agent`: the prompt's input. Of `tool`: the arguments. Of `http`: the parts of the request."""
    whole: ArtifactRef | None = None
    """Where the whole input is, when it is too large for an activity; only what names the call stands here too."""
    refs: dict[str, ArtifactRef] = {}
    """Values that are artifacts themselves, by name; `ref_paths` says which part."""
    ref_paths: dict[str, str] = {}
    tool: str | None = None
    """The tool of a `tool` node or of a model's tool call."""
    tool_call: str | None = None
    """The model's own id of the tool call, if a model asked."""
    transcript: str | None = None
    """SHA-256 of the transcript so far; the new messages follow it."""
    messages: tuple[Message, ...] = ()
    approval: str | None = None
    """The approval that was decided for this call, when it is sent again."""
    facts: dict[str, JsonValue] = {}
    """Dotted path to value, for the expressions of this node's approval and guardrails; absent ones left out."""
    notes: tuple[Note, ...] = ()


class Telemetry(Recorded):
    """What one call used. Money in micro-USD."""

    tokens_used: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_microusd: int = 0
    latency_ms: int = 0
    provider: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    estimated: bool = False
    """The vendor reported no usable usage; the upper bound was settled instead."""


class CallResult(Recorded):
    """What history keeps of a finished call: the result inline, or where it is."""

    v: int = 1
    result: JsonValue = None
    ref: ArtifactRef | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """What the model asks for before it can answer; then `result` is None."""
    transcript: str | None = None
    failed: bool = False
    """A tool's answer to a model that is a failure or a denial: the model reads it, the node goes on."""
    telemetry: Telemetry = Telemetry()
    attempts: int = 1
    answered_from_journal: bool = False


class CallError(Recorded):
    """Why a call or node failed; readable in the fallback node as `error`."""

    type: str
    message: str
    node: str = ""
    visit: int = 0
    attempts: int = 0
    do: str | None = None


class Hold(Recorded):
    """Detail of the gate's Hold: it must wait for a person. `until` is seconds since 1970 or None."""

    kind: HoldKind
    id: str
    """The approval; of a renewal the context; of a top-up `call/limit in micro-USD/limit in tokens` as they were."""
    until: int | None = None


class Prepared(Recorded):
    """A rendered request before anything happened: no effects yet, no secrets."""

    kind: CallKind
    request: bytes
    """The exact bytes that are hashed, shown to an approver and sent (secrets are references)."""
    digest: Digest
    effect: Literal["pure", "idempotent", "keyed", "compensable", "irreversible"]
    agent: str | None = None
    tool: str | None = None
    tool_pin: Digest | None = None
    prompt_pin: Digest | None = None
    provider: str | None = None
    model: str | None = None
    bound_microusd: int = 0
    bound_tokens: int = 0
    permissions: tuple[str, ...] = ()
    arguments: JsonValue = None
    """Of a tool or request: the final arguments, as the expressions and the approver see them."""
    price_digest: Digest | None = None
