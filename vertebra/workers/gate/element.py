"""What an element of the gate is: what it reads, how it judges, what it writes before and after the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vertebra.activities.performed import Performed
from vertebra.activities.world import World
from vertebra.boundary.cel_child import CelRequest
from vertebra.schemas.call import CallError, CallInput, CallResult, Hold, Prepared
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import VertebraError
from vertebra.schemas.graph import CompiledGraph, Node
from vertebra.store.transaction import Query, Row


@dataclass(frozen=True, slots=True)
class GateCall:
    """One call that wants through: named by Temporal, prepared from the published graph."""

    run: str
    tenant: str
    correlation_id: str
    activity_id: str
    execution_id: str
    worker: str
    graph: CompiledGraph
    node: Node
    given: CallInput
    prepared: Prepared
    context: str | None
    """The context id in the header; None if there was none."""
    id: str
    """The call id, also the idempotency key given to the outside."""
    refused: VertebraError | None = None
    """Why the request could not be prepared; then nothing is sent."""

    @property
    def agent(self) -> str:
        return self.prepared.agent or ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The journal already holds how this call ended well."""

    result: CallResult


@dataclass(frozen=True, slots=True)
class Held:
    """The gate must wait for a person. `writes` go into a transaction of their own, with the audit entry."""

    hold: Hold
    by: str
    reason: str
    writes: tuple[Query, ...] = ()


@dataclass(frozen=True, slots=True)
class Denied:
    """The call is not made. `writes` go into a transaction of their own, with the audit entry."""

    by: str
    error: CallError
    writes: tuple[Query, ...] = ()
    lost: tuple[int, ...] = ()
    """Earlier attempts of the call that these writes give up."""


Verdict = Answer | Held | Denied | None
"""None lets the call go on to the next element."""


@dataclass(slots=True)
class Seen:
    """What the first trip brought, by element, and what the expressions gave."""

    rows: dict[str, list[list[Row]]] = field(default_factory=dict)
    values: dict[str, bool | None] = field(default_factory=dict)
    """Expression key to its value; None if it failed."""
    errors: dict[str, str] = field(default_factory=dict)

    def of(self, element: str, query: int = 0) -> list[Row]:
        return self.rows[element][query]

    @property
    def books(self) -> list[Row]:
        """The run's books with the call's reservation; no row if that was refused."""
        return self.rows["budget"][-1]

    @property
    def run(self) -> Row:
        """The run's row. Only after the context element has let the call pass."""
        return self.rows["context"][0][0]

    @property
    def now(self) -> datetime:
        """The database's clock: the only one that decides about expiry."""
        now: datetime = self.run["now"]
        return now

    @property
    def attempt(self) -> int:
        """The number of the attempt that is about to be made."""
        attempts = self.rows["journal"][1]
        last: int = attempts[-1]["n"] if attempts else 0
        return last + 1


@dataclass(frozen=True, slots=True)
class Settled:
    """The first trip after the call: the money is settled, and the run's row is locked."""

    n: int
    performed: Performed
    books: Row
    own: Row
    """The call's row in the journal as it was before this outcome."""
    verdict: Verdict = None
    """What a guardrail said about the result."""

    @property
    def late(self) -> bool:
        """Another attempt's outcome is already the call's. One that nobody knew answers by itself, late as it is."""
        return self.own["status"] in ("done", "failed")

    @property
    def repeated(self) -> bool:
        """The attempt had ended before: the commit was done, and only its answer was lost. Nothing is written again."""
        return not self.books["ended"]


@dataclass(frozen=True, slots=True)
class Question:
    """An expression of the author, to be evaluated between the trips. An error is neither true nor false."""

    key: str
    request: CelRequest


def _nothing(*_: object) -> tuple[()]:
    return ()


def _pass(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Element:
    """One check. All four parts are pure; the passage sends their queries."""

    name: str
    reads: Callable[[GateCall], Sequence[Query]] = _nothing
    asks: Callable[[GateCall, Seen], Sequence[Question]] = _nothing
    judge: Callable[[GateCall, Seen, World], Verdict] = _pass
    writes: Callable[[GateCall, Seen, World], Sequence[Query]] = _nothing
    after: Callable[[GateCall, Settled, World], Sequence[Query]] = _nothing


def facts_of(call: GateCall, extra: Mapping[str, Json] | None = None) -> dict[str, Json]:
    """Dotted facts as nested maps, for CEL. Names given by the gate win over the run's own."""
    nested: dict[str, Json] = {}
    for path, value in call.given.facts.items():
        place = nested
        *parents, last = path.split(".")
        for part in parents:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place[last] = value
    return nested | dict(extra or {})
