"""One call's way through the gate: a transaction, the call, a transaction. No connection is held in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Literal

from vertebra.activities.performed import Performed
from vertebra.activities.world import World
from vertebra.ledger.attempts import Ending
from vertebra.ledger.books import head_query
from vertebra.schemas.call import CallError, CallResult
from vertebra.schemas.errors import StoreError
from vertebra.schemas.ids import RunId
from vertebra.store.transaction import transaction
from vertebra.workers.gate import audit, journal
from vertebra.workers.gate.element import Answer, Denied, GateCall, Held, Seen, Settled
from vertebra.workers.gate.parts import After, Attempt, Before, judge, look
from vertebra.workers.gate.turns import Turns

STORE_WAIT_S, STORE_WAIT_MAX_S = 0.5, 10.0
SETTLE_S = 10.0
"""How long a cancelled call waits until its outcome is written; a store that is away must not keep a worker alive."""

Perform = Callable[[Attempt], Awaitable[Performed]]
"""Makes the call, once."""


class Stopped(Exception):
    """The gate did not let the call through, or its outcome is no success. `verdict` or `performed` says why."""

    def __init__(self, verdict: Held | Denied | None = None, performed: Performed | None = None) -> None:
        super().__init__("stopped at the gate")
        self.verdict = verdict
        self.performed = performed


async def cross(call: GateCall, world: World, turns: Turns, perform: Perform) -> CallResult:
    """Take one call through the gate. Raises Stopped; StoreError if the intent cannot be written: no call was made."""
    token = turns.enter(call.run, call.activity_id)
    try:
        return await _through(_Passage(call, world, turns, token), call, perform)
    finally:
        turns.leave(call.run, call.activity_id, token)


async def _through(passage: _Passage, call: GateCall, perform: Perform) -> CallResult:
    before = await passage.before()
    if before.allowed is None:
        return await passage.stopped(before)
    try:
        performed = await perform(before.allowed)
    except asyncio.CancelledError:
        # the call was in flight: what it did is unknown, and its money stays held
        with contextlib.suppress(Stopped):
            await asyncio.shield(passage.after(before.allowed.n, _cancelled(call, "lost", "unknown"), before.seen))
        raise
    return await _finished(passage.after(before.allowed.n, performed, before.seen))


async def _finished(ending: Coroutine[None, None, CallResult]) -> CallResult:
    """Cancelled now, a call has its outcome all the same: it is known and paid for, so it is written and told."""
    task = asyncio.create_task(ending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=SETTLE_S)
        if not task.done():
            task.cancel()
            raise
        return task.result()


class _Passage:
    """The ways of one call to the database."""

    def __init__(self, call: GateCall, world: World, turns: Turns, token: object) -> None:
        self._call, self._world, self._turns = call, world, turns
        self._alone = partial(turns.is_newest, call.run, call.activity_id, token)

    async def before(self) -> Before:
        part = Before(self._call, self._world)
        try:
            await self._turns.take(part)
        except asyncio.CancelledError:
            if part.allowed is not None:
                # the intent is written, and nothing was sent
                unsent = _cancelled(self._call, "again", "released")
                with contextlib.suppress(Stopped):
                    await asyncio.shield(self.after(part.allowed.n, unsent, part.seen))
            raise
        return part

    async def after(self, n: int, performed: Performed, seen: Seen) -> CallResult:
        """Repeat the second transaction until it is written: the call was made, and only this says so."""
        wait_s = STORE_WAIT_S
        while True:
            try:
                part = After(self._call, n, performed, seen, self._world, self._alone)
                await self._turns.take(part)
                _tell(self._call, part.settled, self._world)
                if part.settled.late or part.settled.repeated:
                    return await _journalled(self._call, performed, self._world)
                return _told(self._call, part.settled)
            except StoreError:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, STORE_WAIT_MAX_S)

    async def stopped(self, before: Before) -> CallResult:
        """The journal's answer, or why there is no call: that is written in a transaction of its own, since the first
        one was rolled back, and the reservation with it."""
        verdict = before.verdict
        assert verdict is not None
        self._turns.forget(self._call.run)
        if isinstance(verdict, Answer):
            if audit.unwritten_notes(self._call, before.seen):
                await _note(self._call, self._world)
            return verdict.result
        return await _refuse(self._call, verdict, self._world)


def _tell(call: GateCall, settled: Settled, world: World) -> None:
    """An outcome is on record now."""
    performed = settled.performed
    status = "late" if settled.late else performed.status
    figures = {"tokens": performed.tokens, "microusd": int(performed.microusd)}
    world.watch.settled(call.prepared.kind, call.agent, status, duration_ms=performed.duration_ms, **figures)


async def _note(call: GateCall, world: World) -> None:
    """A resumed run may tell, with a call that the journal answers, what was never written."""
    seen = Seen()
    async with transaction(world.pool, "gate") as opened:
        [books], known = await opened.trip([head_query(RunId(call.run)), *audit.reads(call)])
        seen.rows["audit"] = [known]
        if audit.unwritten_notes(call, seen):
            await opened.commit(audit.noted(call, seen, books, [], world))


async def _refuse(call: GateCall, verdict: Held | Denied, world: World) -> CallResult:
    answer = _as_answer(call, verdict)
    async with transaction(world.pool, "gate") as opened:
        [[*books]] = await opened.trip([head_query(RunId(call.run))])
        if books:
            told = [*verdict.writes, audit.refusal(call, verdict, books[0], world)]
            if answer is not None:
                told.append(journal.denied(call, answer))
            await opened.commit(told)
            reason = verdict.hold.kind if isinstance(verdict, Held) else verdict.error.type
            world.watch.refused(call.prepared.kind, verdict.by, reason)
    if answer is not None:
        return answer
    raise Stopped(verdict=verdict)


def _as_answer(call: GateCall, verdict: Held | Denied) -> CallResult | None:
    """A denied call of a model is an answer that the model reads; money, doubt and an abort are matters of the run."""
    if not isinstance(verdict, Denied) or call.given.tool_call is None:
        return None
    if verdict.by in ("context", "journal", "budget") or verdict.error.type == "Aborted":
        return None
    if verdict.by == "approval":
        # as the engine words it for the model when it hears the denial itself
        return CallResult(result={"error": verdict.error.message}, failed=True)
    told = {"kind": verdict.error.type, "message": verdict.error.message, "do": verdict.error.do}
    return CallResult(result={"error": told}, failed=True)


def _cancelled(call: GateCall, status: Literal["again", "lost"], books: Ending) -> Performed:
    error = CallError(type="Cancelled", message="the call was cancelled", node=call.node.id, visit=call.given.visit)
    return Performed(status=status, books=books, error=error)


async def _journalled(call: GateCall, performed: Performed, world: World) -> CallResult:
    """What history gets where the outcome is on record already: what the journal says, with the pauses it knows."""
    async with transaction(world.pool, "gate") as opened:
        verdict = judge(call, await look(call, world, await opened.trip(Before(call, world).reads)), world)
    if isinstance(verdict, Answer):
        return verdict.result
    if verdict is not None:
        raise Stopped(verdict=verdict)
    raise Stopped(performed=performed)


def _told(call: GateCall, settled: Settled) -> CallResult:
    if isinstance(settled.verdict, Held):
        raise Stopped(verdict=settled.verdict)
    if settled.performed.status == "lost":
        # no fallback may guess that it did not happen, whatever went wrong
        raise Stopped(verdict=Denied("journal", journal.unknown(call).model_copy(update={"attempts": settled.n})))
    if settled.performed.result is None:
        raise Stopped(performed=settled.performed)
    return settled.performed.result
