"""After the call: guardrails judge the whole result of the node, and a known outcome is written in any case."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from tests import make
from tests.unit.workers.gate.asked import BOOKS, NOTHING, approval, call, seen
from vertebra.activities.performed import Performed
from vertebra.activities.results import kept
from vertebra.activities.world import World
from vertebra.audit.chain import mac_key
from vertebra.boundary.cel_child import CelChild
from vertebra.schemas.audit import Head
from vertebra.schemas.call import CallResult
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import Guardrail
from vertebra.store.pool import Pool
from vertebra.store.transaction import Row
from vertebra.workers.gate import parts
from vertebra.workers.gate.element import Denied, GateCall, Held, Seen, Settled
from vertebra.workers.gate.parts import After, Attempt, Before
from vertebra.workers.gate.passage import Stopped, cross
from vertebra.workers.gate.turns import Part, Turns


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with CelChild() as cel:
        yield cast("World", SimpleNamespace(cel=cel))


def watched(rule: str, action: str = "reject", of: GateCall | None = None) -> GateCall:
    """A call whose node's result a rule watches."""
    of = of or call({})
    made = Guardrail.model_validate(
        {"id": "cap", "on": of.node.id, "at": "after", "action": action, "when": make.condition(rule)}
    )
    return dataclasses.replace(of, graph=of.graph.model_copy(update={"guardrails": (made,)}))


async def settled(of: GateCall, value: Json, world: World, asked: list[Row] | None = None) -> Settled:
    inline, ref, large = kept(value)
    performed = Performed("done", "settled", CallResult(result=inline, ref=ref), artifacts=large)
    before = seen(asked or [])
    before.rows["budget"] = [[BOOKS]]
    return await parts._guard(of, before, Settled(1, performed, BOOKS, {"status": "intended"}), world)


async def test_a_large_result_is_judged_as_a_whole(world: World) -> None:
    """What is too large for history is not too large to be read."""
    of = watched("send.text.contains('guarantee')")

    good = await settled(of, {"text": "x" * 100_000}, world)
    bad = await settled(of, {"text": "x" * 100_000 + "guarantee"}, world)

    assert good.performed.result is not None
    assert ("failed", None) == (bad.performed.status, bad.performed.result)


@pytest.mark.parametrize("value", [["a"], "a", None, 5])
async def test_a_result_that_a_rule_cannot_read_is_rejected(value: Json, world: World) -> None:
    """A list or a text has no field: an error is neither true nor false."""
    told = await settled(watched("send.text.contains('guarantee')"), value, world)

    assert told.performed.error is not None
    assert "GuardrailRejected" == told.performed.error.type


async def test_a_rule_that_reads_no_result_judges_any(world: World) -> None:
    """Figures alone decide, however large or odd the result is."""
    told = await settled(watched("1 > 2"), ["x" * 900_000], world)

    assert "done" == told.performed.status


async def test_what_a_tool_tells_a_model_is_no_result_of_the_node(world: World) -> None:
    """The rule reads a field that only the model's answer has."""
    asked = call({}, node=make.agent("send"), activity_id="send#1.1.1", tool_call="c1")

    told = await settled(watched("send.text.contains('guarantee')", of=asked), {"found": "it"}, world)

    assert "done" == told.performed.status


async def test_a_pause_on_another_result_is_another_round(world: World) -> None:
    """Rounds count per activity and rule: the second is no conflict with the first."""
    of = watched("send.text == 'a'", "pause")

    told = await settled(of, {"text": "a"}, world, [approval(of, "approved", kind="result")])

    assert isinstance(told.verdict, Held)
    assert 2 == told.verdict.writes[-1].params["round"]


class Slow(Turns):
    """Turns whose second transaction takes until it is let go."""

    def __init__(self) -> None:
        super().__init__(cast("Pool", None))
        self.settling, self.go = asyncio.Event(), asyncio.Event()
        self.written = False

    async def take(self, part: Part) -> None:
        if isinstance(part, Before):
            part.allowed = Attempt(1, 0)
            part.seen = Seen(rows={"budget": [[BOOKS]]})
            return
        assert isinstance(part, After)
        self.settling.set()
        await self.go.wait()
        self.written = True


async def test_a_cancel_while_an_outcome_is_written_loses_nothing() -> None:
    """The call is done and paid for: it is written, and it is its result."""
    turns, of = Slow(), call({})

    async def perform(attempt: Attempt) -> Performed:
        return Performed("done", "settled", CallResult(result="sent"))

    crossing = asyncio.create_task(cross(of, NOTHING, turns, perform))
    await turns.settling.wait()
    crossing.cancel()
    await asyncio.sleep(0)
    turns.go.set()

    assert "sent" == (await crossing).result
    assert turns.written


async def test_a_lost_outcome_is_told_as_unknown() -> None:
    """Whatever the attempt itself said was wrong."""
    turns = Slow()
    turns.go.set()

    async def perform(attempt: Attempt) -> Performed:
        return Performed("lost", "unknown")

    with pytest.raises(Stopped) as stopped:
        await cross(call({}), NOTHING, turns, perform)

    assert isinstance(stopped.value.verdict, Denied)
    assert ("UnknownOutcome", 1) == (stopped.value.verdict.error.type, stopped.value.verdict.error.attempts)


async def test_an_attempt_that_another_has_overtaken_in_this_worker_looks_before_it_settles() -> None:
    """The audit's head is where this worker left it, with the other's entries: it says nothing of the journal."""
    guessed: list[bool] = []

    class Guessing(Slow):
        async def take(self, part: Part) -> None:
            await super().take(part)
            if isinstance(part, After):
                guessed.append(part.guess(Head(stream="run", seq=7, hash=bytes(32))) is not None)

    plain = SimpleNamespace(watch=NOTHING.watch, now=lambda: datetime.now(UTC), audit_key=mac_key(b"k" * 32))
    world, turns, overtaken = cast("World", plain), Guessing(), asyncio.Event()
    turns.go.set()

    async def stalled(attempt: Attempt) -> Performed:
        await overtaken.wait()
        return Performed("done", "settled", CallResult(result="late"))

    async def quick(attempt: Attempt) -> Performed:
        return Performed("done", "settled", CallResult(result="sent"))

    first = asyncio.create_task(cross(call({}), world, turns, stalled))
    await asyncio.sleep(0)
    await cross(call({}), world, turns, quick)
    overtaken.set()
    await first

    assert [True, False] == guessed
