"""What a scenario file may say: an input, what models, tools and people answer, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, JsonValue

from vertebra.compiler import Project
from vertebra.schemas.canonical import Json
from vertebra.schemas.record import Authored
from vertebra.testing.acts import Command, Decided, Decision
from vertebra.testing.tools import ToolAnswer
from vertebra.workers.compiling import Compiled

Status = Literal["running", "awaiting_human", "blocked", "over_budget", "completed", "aborted", "cancelled"]
"""How a run ended, or what it waits for where nobody does anything any more."""


class GivenDecision(Authored):
    """One line under `approvals: NODE`: what somebody says when the node asks."""

    by: str | None = Field(default=None, alias="as")
    decision: Decided
    arguments: JsonValue = None
    reason: str | None = None
    after: str | None = None


class GivenCommand(Authored):
    """One line under `commands`: exactly one verb, with what it needs."""

    retry: str | None = None
    skip: str | None = None
    override: str | None = None
    top_up: dict[str, JsonValue] | None = None
    renew: str | None = None
    abort: bool | None = None
    cancel: bool | None = None
    event: str | None = None
    payload: JsonValue = None
    """Of `event`: what comes with it."""
    result: JsonValue = None
    """Of `override`: the node's result."""
    by: str | None = Field(default=None, alias="as")
    reason: str | None = None
    after: str | None = None


class GivenTool(Authored):
    """One line under `tools: NAME`: how one attempt ends."""

    result: JsonValue = None
    error: str | None = None
    lost: bool = False


class Bounds(Authored):
    """Dollars: at least, at most."""

    min: float | None = None
    max: float | None = None


class Expected(Authored):
    """What must come of it; what is left out is not looked at."""

    status: Status | None = None
    path: tuple[str, ...] | None = None
    """The nodes in the order of entering, once per visit."""
    output: dict[str, JsonValue] | None = None
    """Fields of the output; null for one that must be absent."""
    cost_usd: float | Bounds | None = None
    audit: dict[str, int] | None = None
    """Operation to how many outcomes of it are on record."""
    mails: tuple[dict[str, JsonValue], ...] | None = None
    """The arguments of each mail that was sent, as far as they are given."""
    tools: dict[str, int] | None = None
    """Tool to how often it took effect, however many attempts that took."""
    blocked: dict[str, str] | None = None
    """Node to the type of the error that it is blocked by."""
    error: str | None = None
    """The type of the error that the run ended with."""


class GivenScenario(Authored):
    """The keys of a scenario file."""

    scenario: str
    graph: str
    input: JsonValue = None
    replies: JsonValue = None
    tools: JsonValue = None
    approvals: JsonValue = None
    commands: JsonValue = None
    expect: JsonValue = None


@dataclass(frozen=True)
class Scenario:
    """A scenario that was read: every name in it is known."""

    name: str
    file: str
    """Where it stands, below the project's folder."""
    project: Project = field(repr=False)
    compiled: Compiled = field(repr=False)
    input: Json = field(repr=False)
    replies: Mapping[str, Json] = field(repr=False)
    """By node, as the entries of a reply file."""
    tools: Mapping[str, tuple[ToolAnswer, ...]] = field(repr=False)
    decisions: Mapping[str, tuple[Decision, ...]] = field(repr=False)
    commands: tuple[Command, ...] = field(repr=False)
    expect: Expected = field(repr=False)
    places: Mapping[str, str] = field(repr=False)
    """`file:line` of each expectation, by its key."""

    def __str__(self) -> str:
        return self.name
