"""How one attempt ended, as its kind of effect reports it to the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vertebra.ledger.attempts import Ending
from vertebra.schemas.call import CallError, CallResult
from vertebra.schemas.errors import VertebraError
from vertebra.schemas.money import ZERO, MicroUSD


@dataclass(frozen=True, slots=True)
class Caller:
    """Which call an effect acts for."""

    run: str
    tenant: str
    node: str
    visit: int
    turn: int
    call_id: str
    attempt: int
    counted: int
    """Earlier attempts that count against `max_attempts`."""
    timeout_s: int

    def error(self, kind: str, message: str, do: str | None) -> CallError:
        """Why this attempt failed."""
        return CallError(type=kind, message=message, node=self.node, visit=self.visit, attempts=self.attempt, do=do)


@dataclass(frozen=True, slots=True)
class Performed:
    """The outcome of one attempt.

    `done` and `failed` are journalled for good; `again` is an attempt that Temporal may repeat; `lost` is one that left
    and of which nobody knows what it did.
    """

    status: Literal["done", "failed", "again", "lost"]
    books: Ending
    result: CallResult | None = None
    error: CallError | None = None
    counts: bool = False
    """The attempt counts against `max_attempts`."""
    retry_after_s: float | None = None
    microusd: MicroUSD = ZERO
    tokens: int = 0
    estimated: bool = False
    raw_usage: bytes | None = None
    output: str = ""
    """What came back, as text, for the audit."""
    duration_ms: int = 0
    artifacts: tuple[bytes, ...] = ()
    """Values to store by their SHA-256 in the same transaction: transcripts and large results."""


def unsent(error: VertebraError, caller: Caller) -> Performed:
    """What the call needs is not there: nothing left, so nothing is owed, and another attempt would find the same."""
    told = CallError(
        type=type(error).__name__,
        message=str(error),
        node=caller.node,
        visit=caller.visit,
        attempts=caller.attempt,
        do=error.do,
    )
    return Performed(status="failed", books="released", error=told)
