"""One call's way through the gate: a transaction, the call, a transaction. No connection is held in between."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from vertebra.activities.performed import Performed
from vertebra.activities.world import World
from vertebra.ledger.attempts import AttemptId, Settlement, release_query, settle_query, unknown_query
from vertebra.ledger.books import head_query
from vertebra.schemas.call import CallError, CallResult
from vertebra.schemas.errors import StoreError
from vertebra.schemas.ids import CallId, RunId
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, transaction
from vertebra.workers.gate import ELEMENTS, audit, budget, guardrail, journal
from vertebra.workers.gate.element import Answer, Denied, GateCall, Held, Question, Seen, Settled, Verdict

STORE_WAIT_S, STORE_WAIT_MAX_S = 0.5, 10.0

LOCK_FIRST = tuple(sorted(ELEMENTS, key=lambda element: element is not budget.ELEMENT))
"""The order of reading. The reservation locks the run's row, so what is read after it is what every earlier attempt
has committed. Read before it, a journal misses the outcome that is just being written, and the call is made twice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt that the gate has let through."""

    n: int
    counted: int
    """Earlier attempts that ended in a counting error since the call was opened."""


Perform = Callable[[Attempt], Awaitable[Performed]]
"""Makes the call, once."""


class Stopped(Exception):
    """The gate did not let the call through, or its outcome is no success. `verdict` or `performed` says why."""

    def __init__(self, verdict: Held | Denied | None = None, performed: Performed | None = None) -> None:
        super().__init__("stopped at the gate")
        self.verdict = verdict
        self.performed = performed


async def cross(call: GateCall, world: World, perform: Perform) -> CallResult:
    """Take one call through the gate. Raises Stopped; StoreError if the intent cannot be written: no call was made."""
    allowed = await _before(call, world)
    if isinstance(allowed, CallResult):
        return allowed
    try:
        performed = await perform(allowed)
    except asyncio.CancelledError:
        # the call was in flight: what it did is unknown, and its money stays held
        with contextlib.suppress(Stopped):
            await asyncio.shield(_after(call, allowed.n, _cancelled(call), world))
        raise
    return await _after(call, allowed.n, performed, world)


async def _before(call: GateCall, world: World) -> Attempt | CallResult:
    """The attempt that may be made, or the journal's answer."""
    async with transaction(world.pool) as opened:
        reads = [query for element in LOCK_FIRST for query in element.reads(call)]
        seen = await _look(call, world, await opened.trip(reads))
        verdict = _judge(call, seen, world)
        if verdict is None:
            await opened.commit([query for element in ELEMENTS for query in element.writes(call, seen, world)])
            return Attempt(seen.attempt, len(journal.counted(call, seen)))
    if isinstance(verdict, Answer):
        if audit.unwritten_notes(call, seen):
            await _note(call, world)
        return verdict.result
    return await _refuse(call, verdict, world)


async def _note(call: GateCall, world: World) -> None:
    """A resumed run may tell, with a call that the journal answers, what was never written."""
    async with transaction(world.pool) as opened:
        seen = Seen()
        [books], known = await opened.trip([head_query(RunId(call.run)), *audit.reads(call)])
        seen.rows["audit"] = [known]
        if audit.unwritten_notes(call, seen):
            await opened.commit(audit.noted(call, seen, books, [], world))


async def _look(call: GateCall, world: World, brought: list[list[Row]]) -> Seen:
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


def _judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    if not seen.of("context"):
        message = f"no run {call.run!r} was admitted"
        return Denied("context", CallError(type="PermissionDenied", message=message, node=call.node.id))
    for element in ELEMENTS:
        verdict = element.judge(call, seen, world)
        if verdict is not None:
            return verdict
    return None


async def _refuse(call: GateCall, verdict: Held | Denied, world: World) -> CallResult:
    """Write why in a transaction of its own: the first one is rolled back, and so is the reservation."""
    answer = _as_answer(call, verdict)
    async with transaction(world.pool) as opened:
        [[*books]] = await opened.trip([head_query(RunId(call.run))])
        if books:
            told = [*verdict.writes, audit.refusal(call, verdict, books[0], world)]
            if answer is not None:
                told.append(journal.denied(call, answer))
            await opened.commit(told)
    if answer is not None:
        return answer
    raise Stopped(verdict=verdict)


def _as_answer(call: GateCall, verdict: Held | Denied) -> CallResult | None:
    """A denied call of a model is an answer that the model reads; money, doubt and an abort are matters of the run."""
    if not isinstance(verdict, Denied) or call.given.tool_call is None:
        return None
    if verdict.by in ("context", "journal", "budget") or verdict.error.type == "Aborted":
        return None
    told = {"kind": verdict.error.type, "message": verdict.error.message, "do": verdict.error.do}
    return CallResult(result={"error": told}, failed=True)


async def _after(call: GateCall, n: int, performed: Performed, world: World) -> CallResult:
    """Repeat the second transaction until it is written: the call was made, and only this says so."""
    wait_s = STORE_WAIT_S
    while True:
        try:
            settled = await _settle(call, n, performed, world)
            if settled.late or settled.repeated:
                return await _journalled(call, performed, world)
            return _told(settled)
        except StoreError:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, STORE_WAIT_MAX_S)


async def _settle(call: GateCall, n: int, performed: Performed, world: World) -> Settled:
    async with transaction(world.pool) as opened:
        own = Query("own_call", named("gate", "own_call"), {"id": call.id})
        [[books], [row]] = await opened.trip([_ending(call, n, performed), own])
        settled = Settled(n, performed, books, row)
        if settled.repeated:
            return settled
        settled = await _guard(call, settled, world)
        held = settled.verdict.writes if isinstance(settled.verdict, Held) else ()
        await opened.commit([*held, *(query for element in ELEMENTS for query in element.after(call, settled, world))])
        return settled


async def _guard(call: GateCall, settled: Settled, world: World) -> Settled:
    """Guardrails on the result: a rejected one is paid for, kept in the audit, and fails the call."""
    result = settled.performed.result
    if result is None or result.tool_calls or not isinstance(result.result, dict) or settled.late:
        return settled
    seen = Seen()
    await _evaluate(guardrail.questions(call, "after", settled.books, result.result), seen, world)
    for rule in guardrail.rules(call, "after"):
        verdict = guardrail.broken(call, rule, seen)
        if isinstance(verdict, Denied):
            failed = dataclasses.replace(settled.performed, status="failed", result=None, error=verdict.error)
            return dataclasses.replace(settled, performed=failed)
        if verdict is not None:
            return dataclasses.replace(settled, verdict=verdict)
    return settled


def _cancelled(call: GateCall) -> Performed:
    error = CallError(type="Cancelled", message="the call was cancelled in flight", node=call.node.id)
    return Performed(status="lost", books="unknown", error=error)


def _ending(call: GateCall, n: int, performed: Performed) -> Query:
    attempt = AttemptId(RunId(call.run), CallId(call.id), n)
    kind = performed.error.type if performed.error else None
    if performed.books == "released":
        return release_query(attempt, error_class=kind, counts=performed.counts)
    if performed.books == "unknown":
        return unknown_query(attempt, error_class=kind or "lost", counts=performed.counts)
    scopes = ("run", f"node/{call.node.id}", *((f"agent/{call.agent}",) if call.agent else ()))
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


async def _journalled(call: GateCall, performed: Performed, world: World) -> CallResult:
    """What history gets where the outcome is on record already: what the journal says, with the pauses it knows."""
    async with transaction(world.pool) as opened:
        reads = [query for element in LOCK_FIRST for query in element.reads(call)]
        verdict = _judge(call, await _look(call, world, await opened.trip(reads)), world)
    if isinstance(verdict, Answer):
        return verdict.result
    if verdict is not None:
        raise Stopped(verdict=verdict)
    raise Stopped(performed=performed)


def _told(settled: Settled) -> CallResult:
    if isinstance(settled.verdict, Held):
        raise Stopped(verdict=settled.verdict)
    if settled.performed.result is None:
        raise Stopped(performed=settled.performed)
    return settled.performed.result
