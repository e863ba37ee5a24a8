"""The values that start, admit, park and end a run."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from vertebra.schemas.call import ArtifactRef, CallError, Note
from vertebra.schemas.record import Recorded

RunState = Literal["running", "awaiting_human", "blocked", "over_budget"]
RunEnd = Literal["completed", "aborted", "cancelled", "timed_out", "terminated", "failed"]


class MarkedStart(Recorded):
    """The marked form of a workflow's argument; anything else is the input itself."""

    vertebra: int
    version: str | None = None
    input: str | None = None
    """The input's JSON text, as it was signed."""
    ticket: JsonValue = None
    resume: str | None = None
    """The id of the `resume` command that this start carries out."""
    snapshot: JsonValue = None
    """A continued run's state, or a reference to it; counts only in an execution that continues one of the chain."""


class AdmitInput(Recorded):
    """What the shell knows of its own start. `text` is the argument as it came, without a snapshot."""

    v: int = 1
    graph: str
    text: str
    marked: bool
    chain: str
    """Temporal's first execution id."""
    execution: str
    continued: bool
    """With a snapshot. An execution that Temporal itself makes after another one begins anew, from the run's input."""
    snapshot: ArtifactRef | None = None
    """Where the continued run's state is, when it was too large for the argument."""
    refused: str | None = None
    """Why the argument cannot be read; then nothing else of it counts."""


class Past(Recorded):
    """What an earlier life of the run decided by the order of things; a resumed run decides the same."""

    node: str
    visit: int
    won: tuple[str, ...] = ()
    """Of a join: the branches that it took."""
    lost: tuple[str, ...] = ()
    """Of a join: where the cancelled branches stood, `node#visit`, with a `>` where an edge was to be chosen."""
    until: int | None = None
    """Of a wait: when it ends, in seconds since 1970."""


class Admission(Recorded):
    """What `admit` recorded: everything that a run may look at."""

    v: int = 1
    run: str
    tenant: str
    graph: str
    """The canonical bytes of the CompiledGraph, as text."""
    graph_digest: str
    input: JsonValue
    epoch: int = 0
    contexts: dict[str, str]
    """Agent name to context id; the spine's own under the empty name."""
    snapshot: JsonValue = None
    """The continued run's state, if it was kept as an artifact."""
    past: tuple[Past, ...] = ()
    """Of a run that begins again: what its plan envelopes say."""


class Ask(Recorded):
    """One open wait, as `load` is asked about it."""

    ref: str
    """The approval's id, or for a blocked node or an event `node#visit`; for money and time the call's id."""
    kind: Literal["approval", "top_up", "renewal", "blocked", "event"]
    node: str
    visit: int
    activity_id: str | None = None
    error: CallError | None = None
    round: int = 1
    """Of a blocked node: one more than the blocks of this visit that are over; a `retry` is signed for one round."""
    tried: str | None = None
    """Of a blocked node: the `skip` or `override` (its command's id) that was given and could not be followed."""


class LoadInput(Recorded):
    v: int = 1
    asks: tuple[Ask, ...]
    state: str
    notes: tuple[Note, ...] = ()


MAX_EVENT_BYTES = 64 * 1024
"""Of an event's name and payload: what comes with it stands in history, beside what else came meanwhile."""

MAX_EVENTS = 1_000
"""Of one run that nobody took yet: each of its looks verifies them all, in the two seconds of a recorded step."""
MAX_EVENTS_BYTES = 4 * 1024 * 1024
"""Of those events together: the first look writes each into the audit."""


MAX_ORDERS = 200
"""Of commands, and of decisions, that one look of a run reads for the first time; what is left the next look reads."""
MAX_ORDERS_BYTES = 4 * 1024 * 1024
"""Of the arguments of the commands, and of the decisions, among them; the database takes no row that has more."""
MAX_TOP_UP = 10**12
"""Of micro-dollars, and of tokens, in one top-up: so many of these that no run is given them fit into a limit."""
MAX_SAID_BYTES = 64 * 1024
"""Of the signed statement of one command or decision, and of the columns that repeat it."""


class Answer(Recorded):
    """The standing answer of one wait. For `edit` and `override`, `arguments` holds what the person wrote."""

    ref: str
    verb: Literal[
        "approve", "edit", "deny", "expired", "withdrawn", "top_up", "renew", "retry", "skip", "override", "event"
    ]
    """`withdrawn`: the run had ended meanwhile; people are asked again."""
    by: str | None = None
    reason: str | None = None
    arguments: JsonValue = None
    round: int | None = None
    """Of `retry`: the round of the block that it answers; a later block of the visit waits for another one."""
    command: str | None = None
    """The id of the command behind it."""
    at: int | None = None
    """Of an event: when it was sent, in seconds since 1970."""


class Loaded(Recorded):
    """What `load` found. `ended` is a signed abort or cancel of this run."""

    v: int = 1
    answers: tuple[Answer, ...] = ()
    ended: Literal["abort", "cancel"] | None = None
    ended_by: str | None = None
    reviewers: tuple[str, ...] = ()
    due: int | None = None
    """Seconds since 1970: the earliest expiry of an open approval."""
    more: bool = False
    """The look has read as much as it may: the run looks again."""


class DecideRequest(Recorded):
    key: str
    source: str
    facts: dict[str, JsonValue]
    reads: tuple[str, ...] = ()
    """The dotted paths that the source may read."""


class DecideInput(Recorded):
    v: int = 1
    requests: tuple[DecideRequest, ...]


class DecideAnswer(Recorded):
    """`value` is None when the condition failed; then `error` says why."""

    key: str
    value: bool | None = None
    error: str | None = None


class DecideOutput(Recorded):
    v: int = 1
    answers: tuple[DecideAnswer, ...]


class OpenApprovalInput(Recorded):
    v: int = 1
    node: str
    visit: int
    round: int
    show: dict[str, JsonValue]


class OpenedApproval(Recorded):
    v: int = 1
    id: str
    until: int | None = None


class CloseInput(Recorded):
    v: int = 1
    end: RunEnd
    output: JsonValue = None
    ref: ArtifactRef | None = None
    error: CallError | None = None
    by: str | None = None
    notes: tuple[Note, ...] = ()


class Ended(Recorded):
    """How a run has ended, as its row says it to an execution that would end it again."""

    v: int = 1
    end: RunEnd
    output: JsonValue = None
    error: CallError | None = None


class KeepInput(Recorded):
    """A value too large for history, as JSON text, to become an artifact."""

    v: int = 1
    text: str
