"""What one call does in a transaction of its run: before it is made, and after."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence

from vertebra.activities.performed import Performed
from vertebra.activities.world import World
from vertebra.ledger.attempts import AttemptId, Settlement, release_query, settle_query, unknown_query
from vertebra.schemas.audit import Head
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.ids import CallId, RunId
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row
from vertebra.workers.gate import ELEMENTS, budget, guardrail, journal
from vertebra.workers.gate.element import Answer, Denied, GateCall, Held, Question, Seen, Settled, Verdict

LOCK_FIRST = tuple(sorted(ELEMENTS, key=lambda element: element is not budget.ELEMENT))
"""The order of reading. The reservation locks the run's row, so what is read after it is what every earlier attempt
has committed. Read before it, a journal misses the outcome that is just being written, and the call is made twice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt that the gate has let through."""

    n: int
    counted: int
    """Earlier attempts that ended in a counting error since the call was opened."""


class Before:
    """The transaction before the call. Afterwards either `allowed` or `verdict` is there."""

    def __init__(self, call: GateCall, world: World) -> None:
        self.run, self.activity_id = call.run, call.activity_id
        self.reads: Sequence[Query] = [query for element in LOCK_FIRST for query in element.reads(call)]
        self.verdict: Held | Denied | Answer | None = None
        self.allowed: Attempt | None = None
        self.seen = Seen()
        self._call, self._world = call, world

    async def judge(self, rows: list[list[Row]], head: Head | None) -> Sequence[Query] | None:
        """The intent and all that goes with it, or None with the verdict that stands against it."""
        self.seen = seen = await look(self._call, self._world, rows)
        if head is not None and seen.books:
            seen.rows["budget"] = [[_moved(seen.books[0], head)]]
        self.verdict = judge(self._call, seen, self._world)
        if self.verdict is not None:
            return None
        return [query for element in ELEMENTS for query in element.writes(self._call, seen, self._world)]

    def guess(self, head: Head) -> None:
        """Rights, journal and approvals must have been looked at before anything is written."""

    def written(self, rows: list[list[Row]]) -> None:
        """The call may be made."""
        self.allowed = Attempt(self.seen.attempt, len(journal.counted(self._call, self.seen)))


class After:
    """The transaction after the call. Afterwards `settled` is there."""

    def __init__(
        self, call: GateCall, n: int, performed: Performed, seen: Seen, world: World, alone: Callable[[], bool]
    ) -> None:
        """`seen` is what the transaction before the call saw; `alone`: no other attempt has come to this gate since."""
        self.run, self.activity_id = call.run, call.activity_id
        own = Query("own_call", named("gate", "own_call"), {"id": call.id})
        self.reads: Sequence[Query] = [_ending(call, n, performed), own]
        self._performed = performed
        books = seen.books[0]
        self.settled = Settled(n, performed, {**books, "ended": True}, {"status": "intended"})
        self._call, self._seen, self._world = call, seen, world
        self._alone = alone

    async def judge(self, rows: list[list[Row]], head: Head | None) -> Sequence[Query] | None:
        """The outcome; None if it is on record already."""
        [[books], [own]] = rows
        books = books if head is None else _moved(books, head)
        settled = self.settled = Settled(self.settled.n, self._performed, books, own)
        if settled.repeated:
            return None
        self.settled = await _guard(self._call, self._seen, settled, self._world)
        return self._writes()

    def guess(self, head: Head) -> Sequence[Query] | None:
        """All at once where no guardrail watches results. Another worker's attempt of this call would have moved the
        run's audit; this worker knows the head after its own, and so asks whether there was one."""
        if guardrail.rules(self._call, "after") or not self._alone():
            return None
        self.settled = dataclasses.replace(self.settled, books=_moved(self.settled.books, head))
        return [*self.reads, *self._writes()]

    def written(self, rows: list[list[Row]]) -> None:
        """The outcome is on record."""
        [[books], [own]] = rows
        self.settled = dataclasses.replace(self.settled, books=books, own=own)

    def _writes(self) -> list[Query]:
        verdict = self.settled.verdict
        held = verdict.writes if isinstance(verdict, Held) else ()
        return [*held, *(q for element in ELEMENTS for q in element.after(self._call, self.settled, self._world))]


def _moved(row: Row, head: Head) -> Row:
    return {**row, "audit_seq": head.seq, "audit_hash": head.hash}


async def look(call: GateCall, world: World, brought: list[list[Row]]) -> Seen:
    seen = Seen()
    rest = iter(brought)
    for element in LOCK_FIRST:
        seen.rows[element.name] = [next(rest) for _ in element.reads(call)]
    if seen.of("context"):
        await _evaluate([question for element in ELEMENTS for question in element.asks(call, seen)], seen, world)
    return seen


async def _evaluate(questions: Sequence[Question], seen: Seen, world: World) -> None:
    if not questions:
        return
    answers = await world.cel.evaluate([question.request for question in questions])
    for question, answer in zip(questions, answers, strict=True):
        seen.values[question.key] = answer.value if isinstance(answer.value, bool) else None
        if answer.error is not None:
            seen.errors[question.key] = answer.error


def judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    if not seen.of("context"):
        message = f"no run {call.run!r} was admitted"
        return Denied("context", CallError(type="PermissionDenied", message=message, node=call.node.id))
    for element in ELEMENTS:
        verdict = element.judge(call, seen, world)
        if verdict is not None:
            return verdict
    return None


async def _guard(call: GateCall, seen: Seen, settled: Settled, world: World) -> Settled:
    """Guardrails on the result of the node: a rejected one is paid for, kept in the audit, and fails the call."""
    result = settled.performed.result
    if result is None or result.tool_calls or settled.late or journal.is_models_tool(call):
        return settled
    said = Seen(rows=seen.rows)
    await _evaluate(guardrail.questions(call, "after", settled.books, _value(settled.performed)), said, world)
    for rule in guardrail.rules(call, "after"):
        verdict = guardrail.broken(call, rule, said)
        if isinstance(verdict, Denied):
            failed = dataclasses.replace(settled.performed, status="failed", result=None, error=verdict.error)
            return dataclasses.replace(settled, performed=failed)
        if verdict is not None:
            return dataclasses.replace(settled, verdict=verdict)
    return settled


def _value(performed: Performed) -> Json:
    """The whole result, also where it is too large to stand in history."""
    result = performed.result
    if result is None or result.ref is None:
        return None if result is None else result.result
    [data] = performed.artifacts
    value: Json = json.loads(data)
    return value


def _ending(call: GateCall, n: int, performed: Performed) -> Query:
    attempt = AttemptId(RunId(call.run), CallId(call.id), n)
    kind = performed.error.type if performed.error else None
    if performed.books == "released":
        return release_query(attempt, error_class=kind, counts=performed.counts)
    if performed.books == "unknown":
        return unknown_query(attempt, error_class=kind or "lost", counts=performed.counts)
    scopes = (f"node/{call.node.id}", *((f"agent/{call.agent}",) if call.agent else ()))
    figures = {
        "tokens": performed.tokens,
        "microusd": int(performed.microusd),
        "latency_ms": performed.duration_ms,
        "visits": call.given.visit,
    }
    settlement = Settlement(
        microusd=performed.microusd,
        tokens=performed.tokens,
        estimated=performed.estimated,
        raw_usage=performed.raw_usage,
        scopes=scopes,
        figures=figures,
    )
    return settle_query(attempt, settlement, error_class=kind, counts=performed.counts)
