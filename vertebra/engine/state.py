"""What a run knows: one frozen value, which is also the snapshot that a continued run starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from vertebra.schemas.call import ArtifactRef, CallError, CallInput, Message, Note, ToolCall
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import UnknownEngine
from vertebra.schemas.ids import node_of
from vertebra.schemas.run import Answer, Ask, Past, RunEnd
from vertebra.schemas.run import RunState as Shown

SNAPSHOT = 1
"""The form of a snapshot. Fields may be added under the same number."""
REREAD_S = (60, 300, 1800, 7200)
"""When standing answers are looked for again; the last one repeats."""

Phase = Literal["new", "running", "ending", "ended"]
Stage = Literal["entering", "calling", "deciding", "routing", "blocked", "forked", "arrived", "standing"]
Redo = Literal["enter", "calls", "turns", "human", "write", "route", "again"]
Progress = Literal["running", "waiting", "blocked", "succeeded", "failed", "skipped", "overridden", "cancelled"]


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The latest result of a node; `ref` where it is too large to be kept here."""

    visit: int
    value: JsonValue = None
    ref: ArtifactRef | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a branch, kept until its fork is joined. Node, visit and channel name it."""

    node: str
    visit: int
    channel: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Turn:
    """An agent's turn: what its model asked for, and the answers so far, in the model's order."""

    number: int
    limit: int
    transcript: str | None = None
    asked: tuple[ToolCall, ...] = ()
    answers: tuple[Message | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Undo:
    """A branch's state before its node wrote, for an `override` of a node that cannot be left."""

    state: dict[str, JsonValue]
    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """One token of a run. A forked branch stands still while its children go on; they see what it sees."""

    id: str
    at: str
    visit: int = 0
    stage: Stage = "entering"
    parent: str | None = None
    source: str = ""
    """The node from which it arrived at a join."""
    order: int = 0
    """The how manieth it was to arrive there."""
    state: dict[str, JsonValue] = field(default_factory=dict)
    """Channels as this branch sees them, where that differs from its parent."""
    results: dict[str, NodeResult] = field(default_factory=dict)
    writes: tuple[Write, ...] = ()
    """What the join is to apply to the parent; the root branch keeps none."""
    error: CallError | None = None
    """The failure that the last `on_error` edge was taken for."""
    turn: Turn | None = None
    kept: NodeResult | None = None
    """The result of a node that is about to write, or could not."""
    redo: Redo = "enter"
    """What `retry` does while the node is blocked, and what starts a standing branch."""
    retries: int = 0
    """How many blocks of this visit are over, by a `retry` or by a late outcome: each takes a `retry` of its own."""
    tried: Answer | None = None
    """The `skip` or `override` that was given last. It stands for good, so it comes again; it is not tried again."""
    undo: Undo | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A call that was asked for and is not finished; without `input` it is the approval of a `human` node."""

    branch: str
    status: Literal["sent", "held", "failed", "cancelling"] = "sent"
    input: CallInput | None = None
    error: CallError | None = None
    round: int = 1


@dataclass(frozen=True, slots=True)
class Wait:
    """Something only a person can answer."""

    branch: str
    ask: Ask


@dataclass(frozen=True, slots=True)
class Timer:
    """A node's wait; `until` is None until the shell has told it."""

    branch: str
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How the run ends once all cancelled calls were reported."""

    end: RunEnd
    output: JsonValue = None
    error: CallError | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything that `advance` knows of a run. Never changed, only replaced."""

    v: int = SNAPSHOT
    phase: Phase = "new"
    input: JsonValue = None
    branches: dict[str, Branch] = field(default_factory=dict)
    calls: dict[str, Pending] = field(default_factory=dict)
    """By activity id."""
    decides: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The branches that wait for each Decide."""
    waits: dict[str, Wait] = field(default_factory=dict)
    """By the activity id of what is held, or the `node#visit` of what is blocked."""
    visits: dict[str, int] = field(default_factory=dict)
    steps: dict[str, Progress] = field(default_factory=dict)
    """The newest visits, in the order of entering."""
    notes: tuple[Note, ...] = ()
    """Envelopes that no command has carried yet."""
    decided: int = 0
    """How many Decides there were."""
    shown: Shown = "running"
    reread: int | None = None
    """Which of REREAD_S is running."""
    woken: bool = False
    """Somebody signalled before the run was let in."""
    ending: Ending | None = None
    past: dict[str, Past] = field(default_factory=dict)
    """By the `node#visit` of what is still to be decided as it was before; a wait's has an `@` after it."""
    timers: dict[str, Timer] = field(default_factory=dict)
    """By `node#visit`."""


EMPTY = RunState()
_STATE = TypeAdapter(RunState)


def to_json(state: RunState) -> Json:
    """The state as a snapshot; `from_json` gives it back."""
    found: Json = {**_STATE.dump_python(state, mode="json", exclude_defaults=True), "v": state.v}
    return found


def from_json(value: Json) -> RunState:
    """The state of a snapshot. Fields of a newer release are ignored; raises UnknownEngine for a newer form."""
    version = value.get("v") if isinstance(value, dict) else None
    if version != SNAPSHOT:
        raise UnknownEngine(
            f"a snapshot has form {version!r}, this worker reads form {SNAPSHOT}", do="start a newer worker"
        )
    return _STATE.validate_python(value)


def resting(state: RunState) -> bool:
    """Whether nothing is in flight: no call, no condition, no approval being opened."""
    return not state.decides and all(call.status in ("held", "failed") for call in state.calls.values())


def waits(state: RunState) -> tuple[Ask, ...]:
    """Everything that waits for a person, by node, visit and place."""
    asks = [wait.ask for wait in state.waits.values()]
    return tuple(sorted(asks, key=lambda ask: (ask.node, ask.visit, ask.activity_id or "", ask.ref)))


def path(state: RunState) -> list[tuple[str, int, Progress]]:
    """The newest visits in the order of entering, each with where it stands."""
    open_: dict[str, Progress] = {}
    for ask in waits(state):
        name = f"{ask.node}#{ask.visit}"
        open_[name] = "blocked" if "blocked" in (ask.kind, open_.get(name)) else "waiting"
    return [(*node_of(name), open_.get(name, status)) for name, status in state.steps.items()]


def next_delay(state: RunState) -> int | None:
    """Seconds of the re-read timer that is running; None if nothing waits."""
    return None if state.reread is None else REREAD_S[min(state.reread, len(REREAD_S) - 1)]
