"""What can happen to a run. The shell turns everything that Temporal reports into one of these."""

from __future__ import annotations

from dataclasses import dataclass

from vertebra.schemas.call import CallError, CallResult, Hold
from vertebra.schemas.canonical import Json
from vertebra.schemas.run import Answer, DecideAnswer, Past


@dataclass(frozen=True, slots=True)
class Admitted:
    """The run was let in with this checked input. `past` is what an earlier life of it decided."""

    input: Json
    past: tuple[Past, ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """The conditions asked for by one Decide were evaluated."""

    id: str
    answers: tuple[DecideAnswer, ...]


@dataclass(frozen=True, slots=True)
class CallFinished:
    activity_id: str
    result: CallResult


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call ended for good. `UnknownOutcome` blocks its node and never takes `on_error`; `Aborted` ends the run."""

    activity_id: str
    error: CallError


@dataclass(frozen=True, slots=True)
class CallCancelled:
    activity_id: str


@dataclass(frozen=True, slots=True)
class HoldOpened:
    """A call must wait for a person (`activity_id` its id), or a human node's approval was opened (`node#visit`)."""

    activity_id: str
    hold: Hold


@dataclass(frozen=True, slots=True)
class HoldAnswered:
    """`load` found the standing answer of an open wait."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class TimerStarted:
    """When the timer of this name is going to fire, in seconds since 1970."""

    name: str
    until: int


@dataclass(frozen=True, slots=True)
class TimerFired:
    name: str


@dataclass(frozen=True, slots=True)
class Woken:
    """Somebody signalled, with any name. It only means: look again."""


@dataclass(frozen=True, slots=True)
class CommandGiven:
    """A verified `abort` of the whole run."""

    verb: str
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Cancel, from a verified command or from Temporal's own tools (`by` is then `temporal`)."""

    by: str


Event = (
    Admitted
    | Decided
    | CallFinished
    | CallFailed
    | CallCancelled
    | HoldOpened
    | HoldAnswered
    | TimerStarted
    | TimerFired
    | Woken
    | CommandGiven
    | CancelAsked
)
