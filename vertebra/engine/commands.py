"""What a run wants done next. The shell carries these out, in the order given, and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from vertebra.schemas.call import CallError, CallInput, Note
from vertebra.schemas.canonical import Json
from vertebra.schemas.run import Ask, DecideRequest, RunEnd, RunState


@dataclass(frozen=True, slots=True)
class Call:
    """Schedule one gated activity. `summary` labels it in the Web UI: short, no secrets."""

    activity_id: str
    input: CallInput
    agent: str
    """The agent whose context this call uses; empty for the spine's own."""
    timeout_s: int
    deadline_s: int
    summary: str


@dataclass(frozen=True, slots=True)
class Decide:
    """Evaluate all ready conditions together; one marker."""

    id: str
    requests: tuple[DecideRequest, ...]


@dataclass(frozen=True, slots=True)
class OpenApproval:
    """Ask a person for a `human` node; answered by HoldOpened with `activity_id` = `node#visit`."""

    node: str
    visit: int
    round: int
    show: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Load:
    """Look for the standing answers of everything that waits; answered by HoldAnswered, CommandGiven, CancelAsked."""

    asks: tuple[Ask, ...]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Start, or start anew, the timer of this name; without a time it is stopped.

    One with a summary is a node's wait: its start is answered by TimerStarted, and it survives a continued run.
    """

    name: str
    seconds: int | None
    until: int | None = None
    """Seconds since 1970, instead of a length."""
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class CancelCall:
    activity_id: str


@dataclass(frozen=True, slots=True)
class SetState:
    """Show what the run is doing; only when it changed."""

    state: RunState


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the run. Nothing follows."""

    end: RunEnd
    output: Json
    error: CallError | None
    by: str | None
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Park:
    """Nothing is pending and a person must act: a safe point for continue-as-new."""


Command = Call | Decide | OpenApproval | Load | StartTimer | CancelCall | SetState | Finish | Park
