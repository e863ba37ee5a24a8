"""Conditions are evaluated in a child process that may die of them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from vertebra.boundary.cel_child import CelAnswer, CelChild, CelRequest
from vertebra.boundary.cel_worker import explained
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import ChildLost, ConditionError

FACTS: dict[str, Json] = {
    "input": {"ticket": "hello", "customer": {"tier": "gold"}},
    "state": {"total": 2.5, "n": 3, "whole": 1.0, "notes": ["a", "b"], "nothing": None},
    "tool": "python",
}


@pytest.fixture
async def child() -> AsyncIterator[CelChild]:
    async with CelChild() as running:
        yield running


async def answer(child: CelChild, source: str, facts: dict[str, Json], *reads: str) -> CelAnswer:
    (found,) = await child.evaluate([CelRequest(source, facts, reads)])
    return found


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("input.customer.tier == 'gold'", True),
        ("state.total > 100.0", False),
        ("state.whole == 1.0 && state.n * 2 == 6", True),
        ("state.notes.size() == 2 && 'a' in state.notes", True),
        ("state.notes.exists(x, x == 'b')", True),
        ("(has(input.customer) && has(input.customer.age))", False),
        ("(has(research.facts))", False),
        ("input.ticket.matches('^h.*o$')", True),
        ("state.total + 1.0", 3.5),
        ("state.notes", ["a", "b"]),
    ],
)
async def test_a_condition_has_its_value(child: CelChild, source: str, value: Json) -> None:
    """An expression over present values gives a plain value; has() of an absent one is false."""
    assert CelAnswer(value=value) == await answer(child, source, FACTS, "research.facts")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("input.nowhere == 'x'", "'nowhere' is absent"),
        ("research.facts == 'x'", "'facts' is absent"),
        ("args == 'x'", "'args' is absent"),
        ("state.n / 0 == 1", "it divides by zero"),
        ("state.n + state.total > 1.0", "an operation does not fit the types of its values"),
        ("int(input.ticket) == 1", "it fails on these values"),
        ("state.notes[7] == 'x'", "it fails on these values"),
        ("[1,2,3,4,5].map(a, 1/a).size() / 0 == 1", "it divides by zero"),
        ("unknown == 1", "it cannot be compiled"),
        ("state.n == ", "it cannot be compiled"),
        ("timestamp('2020-01-01T00:00:00Z')", "it gives no plain value"),
        ("b'x'", "it gives no plain value"),
        ("1.0 / 0.0", "it gives no plain value"),
    ],
)
async def test_an_error_is_neither_true_nor_false(child: CelChild, source: str, error: str) -> None:
    """What has no value raises, and the error repeats no value of the run."""
    found = await answer(child, source, FACTS, "research.facts", "args")

    assert error == found.error
    with pytest.raises(ConditionError, match="has no value"):
        found.truth(source)


async def test_only_a_boolean_is_a_truth(child: CelChild) -> None:
    """A condition that gives a number raises, and does not count as true."""
    found = await answer(child, "state.n", FACTS)

    with pytest.raises(ConditionError, match="neither true nor false"):
        found.truth("state.n", at="graphs/a.yaml:3")


def test_errors_are_scrubbed() -> None:
    """Only names that the author wrote are repeated."""
    assert "'b' is absent" == explained('NOT_FOUND: Key not found in map : "b"', "a.b == 1")
    assert "a field that it reads is absent" == explained('NOT_FOUND: Key not found in map : "secret"', "a[b] == 1")
    assert "it fails on these values" == explained("INVALID_ARGUMENT: cannot parse 'secret'", "int(a)")


async def test_many_requests_take_one_turn_and_keep_their_order(child: CelChild) -> None:
    """The answers stand in the order of the requests."""
    requests = [CelRequest("n", {"n": number}) for number in range(500)]

    assert list(range(500)) == [found.value for found in await child.evaluate(requests)]


async def test_tasks_share_a_child(child: CelChild) -> None:
    """Concurrent callers each get their own answers."""

    async def ask(number: int) -> Json:
        return (await answer(child, "n * 2", {"n": number})).value

    assert [2 * number for number in range(200)] == await asyncio.gather(*(ask(number) for number in range(200)))


DEEP: Json = []
for _ in range(20_000):
    DEEP = [DEEP]

DOUBLING = "[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, [0,1,2,3,4,5,6,7,8,9].map(c, s+s+s+s+s+s+s+s)))"
RUNAWAY: tuple[str, dict[str, Json]] = (
    "xs.map(a, s.matches('(x+x+)+y')).size() > 0",
    {"xs": list(range(5000)), "s": "x" * 400_000},
)
HOSTILE: list[tuple[str, dict[str, Json]]] = [
    RUNAWAY,
    ("xs.all(a, xs.all(b, xs.all(c, xs.all(d, a + b + c + d >= 0))))", {"xs": list(range(400))}),
    ("xs.map(a, xs.map(b, xs.map(c, xs.map(d, a)))).size() > 0", {"xs": list(range(400))}),
    (f"({DOUBLING}).size() > 0 && ({DOUBLING}) == ({DOUBLING})", {"s": "x" * 300_000}),
    ("xs.map(a, s + s).size() > 0", {"xs": list(range(5000)), "s": "x" * 400_000}),
    ("s.matches('(a+)+$')", {"s": "a" * 200_000 + "!"}),
    ("s.matches('(((a{1,100}){1,100}){1,100}){1,100}')", {"s": "a" * 1000}),
    ("x == x", {"x": DEEP}),
    ("(" * 5000 + "true" + ")" * 5000, {}),
    ("[" * 5000 + "]" * 5000, {}),
    ("!" * 100_000 + "true", {}),
    ("true" + " && true" * 20_000, {}),
    ("s == s", {"s": "x" * 2_000_000}),
    ("s == s", {"s": "\ud800"}),
    ("s == s", {"s": "\0"}),
    ("s == 1.0", {"s": float("nan")}),
    ("\ud800", {}),
    ("a\nb", {}),
    ("", {}),
]


@pytest.mark.parametrize(("source", "facts"), HOSTILE)
async def test_a_hostile_expression_costs_itself_only(child: CelChild, source: str, facts: dict[str, Json]) -> None:
    """Whatever an expression does, it ends soon, has a boolean or an error, and those around it have their values."""
    requests = [CelRequest("1 == 1", {}), CelRequest(source, facts), CelRequest("1 == 2", {})]
    start = time.monotonic()

    first, hostile, last = await child.evaluate(requests)

    assert 5 > time.monotonic() - start  # 0.5 s of processor time; the rest is a busy machine and a new child
    assert (CelAnswer(value=True), CelAnswer(value=False)) == (first, last)
    assert hostile.error is not None or isinstance(hostile.value, bool)


async def test_a_runaway_is_told_its_limit(child: CelChild) -> None:
    """An expression that goes on ends by the processor time, with that reason."""
    source, facts = RUNAWAY

    assert "it takes longer than 0.45 s" == (await answer(child, source, facts)).error


async def test_a_cancelled_caller_leaves_no_answer_behind(child: CelChild) -> None:
    """The answer of a caller that went away is not given to the next one."""
    source, facts = RUNAWAY
    for delay in (0.0, 0.001, 0.1):
        task = asyncio.create_task(child.evaluate([CelRequest("7", {}), CelRequest(source, facts)]))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert CelAnswer(value="mine") == await answer(child, "'mine'", {})


async def test_a_child_killed_from_outside_is_no_fault_of_the_expression(child: CelChild) -> None:
    """The caller is told to try again, and the next call has a new child."""
    process = child._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(ChildLost, match="from outside"):
        await answer(child, "true", {})

    assert CelAnswer(value=True) == await answer(child, "true", {})


async def test_a_closed_child_is_gone() -> None:
    """Leaving the context ends the process."""
    async with CelChild() as child:
        process = child._process
        assert process is not None

    assert process.returncode is not None
