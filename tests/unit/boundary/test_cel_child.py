"""Conditions are evaluated in a child process that may die of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import vertebra
from vertebra.boundary import cel_child
from vertebra.boundary.cel_check import CheckedCondition, Declared, check_condition
from vertebra.boundary.cel_child import CelAnswer, CelChild, CelRequest
from vertebra.boundary.cel_worker import explained
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import ChildLost, ConditionError
from vertebra.schemas.fields import Field

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


RUNAWAY: tuple[str, dict[str, Json]] = (
    "xs.map(a, s.matches('(x+x+)+y')).size() > 0",
    {"xs": list(range(5000)), "s": "x" * 400_000},
)


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


async def test_many_runaways_end_in_the_time_for_all(child: CelChild) -> None:
    """What is not reached in time has no value; what was answered before keeps its own."""
    source, facts = RUNAWAY
    requests = [CelRequest("7", {}), *[CelRequest(source, facts)] * 8, CelRequest("8", {})]
    began = asyncio.get_running_loop().time()

    found = await child.evaluate(requests, within_s=0.8)

    assert 30 > asyncio.get_running_loop().time() - began
    assert CelAnswer(value=7) == found[0]
    assert "it takes longer than 0.45 s" == found[1].error
    assert "it was given up: the conditions together took over 0.8 s" == found[-1].error
    assert CelAnswer(value="mine") == await answer(child, "'mine'", {})


async def test_a_start_outlives_who_waited_for_it(child: CelChild, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that gives up while a child starts does not make the next one wait for another start."""
    starts = []
    started = cel_child._started

    async def slow() -> Process:
        starts.append(1)
        await asyncio.sleep(0.3)
        return await started()

    monkeypatch.setattr(cel_child, "_started", slow)
    await child._end()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await answer(child, "1", {})

    assert CelAnswer(value=2) == await answer(child, "2", {})
    assert [1] == starts


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


async def test_a_checked_condition_runs_as_it_was_checked(child: CelChild) -> None:
    """The evaluation form of the check gives the author's meaning, absent values and `.length` included."""
    declared: Declared = {
        "input.ticket": Field(type="string"),
        "state.customer": Field(type="dict", fields={"tier": Field(type="string")}),
        "research.facts": Field(type="list", item_type=Field(type="string")),
    }
    source = "has(state.customer.tier) || !has(research.facts) && input.ticket.length == 5"
    checked = check_condition(source, declared)

    assert isinstance(checked, CheckedCondition)
    assert CelAnswer(value=True) == await answer(child, checked.source, {"input": {"ticket": "hello"}}, *checked.reads)


async def test_only_its_watcher_asks_for_the_childs_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks beside it may get it instead: the child's end is then unknown, and asyncio says so on standard error."""
    asked = []
    monkeypatch.setattr(subprocess.Popen, "poll", lambda child: asked.append(child.pid))

    async with CelChild() as child:
        assert child._process is not None
        process = child._process

    assert [] == asked
    assert process.returncode in (0, -signal.SIGKILL)


ORPHAN = """
import asyncio
from vertebra.boundary.cel_child import CelChild, CelRequest

async def main():
    async with CelChild() as child:
        print(child._process.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_the_child_dies_with_its_parent() -> None:
    """A parent that is killed leaves no child behind."""
    root = str(Path(vertebra.__file__).parent.parent)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": root}
    )
    assert parent.stdout is not None
    child_pid = int(await parent.stdout.readline())

    parent.kill()
    await parent.wait()

    for _ in range(1200):
        if _is_gone(child_pid):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"process {child_pid} outlives its parent")


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
