"""What comes together with a run's end, as a cancel by Temporal: row, record and Temporal say the same, and at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from tests.attacks.forging import told
from tests.integration.runs.test_shell import published, speaks
from tests.integration.runs.waits import ended, row_of, waiting
from tests.stage import Stage
from vertebra.activities import steps
from vertebra.activities.admit import admit
from vertebra.activities.close import close
from vertebra.activities.keep import keep
from vertebra.activities.load import load
from vertebra.activities.open_approval import open_approval
from vertebra.schemas.errors import PermissionDenied, StoreError
from vertebra.schemas.run import OpenApprovalInput

pytestmark = pytest.mark.server

Handle: TypeAlias = WorkflowHandle[Any, Any]
Step: TypeAlias = Callable[..., Awaitable[object]]

BESIDE = """
nodes:
  go: {type: rules, default: {text: input.text}}
  one: {type: human, show: {text: input.text}, assign: [support_lead]}
  two: {type: human, show: {text: input.text}, assign: [support_lead]}
  both: {agent: speaker, input: {text: input.text}}
edges:
  - go -> one, two
  - one, two -> both: {join: all}
"""
"""Two people are asked at once."""


class Slow:
    """Stands in for a step: until it is let go it writes and does not say so, or cannot write."""

    def __init__(self, step: Step, writes: bool) -> None:
        self._step, self._writes = step, writes
        self.reached, self.let_go = asyncio.Event(), asyncio.Event()

    async def __call__(self, *given: object) -> object:
        if not (self._writes or self.let_go.is_set()):
            self.reached.set()
            raise StoreError("the database cannot be reached")
        found = await self._step(*given)
        self.reached.set()
        await self.let_go.wait()
        return found


@pytest.fixture(params=[True, False], ids=["written", "not written"])
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Whether or not the end could be written before the cancel."""
    found = Slow(close, request.param)
    monkeypatch.setattr(steps, "close", found)
    return found


async def cancelled_late(handle: Handle, slow: Slow) -> None:
    await asyncio.wait_for(slow.reached.wait(), 60)
    await handle.cancel()
    slow.let_go.set()


async def refused_tasks(handle: Handle) -> list[str]:
    """Workflow tasks that Temporal did not take."""
    kinds = [EventType.Name(event.event_type) for event in (await handle.fetch_history()).events]
    return [kind for kind in kinds if kind.endswith(("WORKFLOW_TASK_FAILED", "WORKFLOW_TASK_TIMED_OUT"))]


async def ends(run: str, stage: Stage) -> list[object]:
    return [entry["outcome"] for entry in await told(run, "run_end", stage)]


@pytest.mark.parametrize(("size", "inline"), [(1, True), (300_000, False)])
async def test_a_cancel_after_the_end_changes_nothing_of_it(stage: Stage, slow: Slow, size: int, inline: bool) -> None:
    """The run has its output for whoever asked for it, small or large."""
    copy = "  copy: {type: rules, default: {text: input.text}, write: {said: text}}\n"
    graph = await published(stage, "late", "nodes:\n" + copy)
    handle = await stage.start(graph, {"text": "x" * size})

    await cancelled_late(handle, slow)
    output, row = await ended(handle, stage)

    assert ("completed", WorkflowExecutionStatus.COMPLETED) == (row["state"], (await handle.describe()).status)
    assert isinstance(output, dict)
    assert inline == ({"said": "x" * size} == output)
    assert inline == ("artifact" not in output)
    assert ["completed"] == await ends(handle.id, stage)


async def test_a_cancel_after_an_abort_changes_nothing_of_it(stage: Stage, slow: Slow) -> None:
    """Temporal fails the run as aborted, which is what stands in its row."""
    graph = await published(stage, "late-abort", "nodes:\n" + speaks("broken", extra=", retry: {max_attempts: 1}"))
    handle = await stage.start(graph, {"text": "x"})
    await waiting(handle.id, stage, "blocked")
    await stage.command(handle.id, "abort")

    await cancelled_late(handle, slow)
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(handle.result(), 90)

    assert isinstance(failure.value.cause, ApplicationError)
    assert ("Aborted", "aborted") == (failure.value.cause.type, (await row_of(handle.id, stage))["state"])
    assert ["aborted"] == await ends(handle.id, stage)


@pytest.mark.parametrize("writes", [True, False])
async def test_a_run_cancelled_at_its_door_is_on_record(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, writes: bool
) -> None:
    """Let in or not yet, it ends as cancelled by `temporal`."""
    slow = Slow(admit, writes)
    monkeypatch.setattr(steps, "admit", slow)
    graph = await published(stage, "door", "nodes:\n" + speaks("one"))
    handle = await stage.start(graph, {"text": "x"})

    await cancelled_late(handle, slow)
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(handle.result(), 90)

    assert isinstance(failure.value.cause, CancelledError)
    assert "cancelled" == (await row_of(handle.id, stage))["state"]
    assert [("temporal", "cancelled")] == [
        (entry["actor"], entry["outcome"]) for entry in await told(handle.id, "run_end", stage)
    ]


async def test_a_look_that_is_slower_than_the_end_keeps_no_run_from_ending(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wake and a cancel reach the run together: what it still reads is read first; the end comes last."""
    first, closed = Slow(load, True), asyncio.Event()

    async def looks(*given: Any) -> object:
        if not first.reached.is_set():
            return await first(*given)
        found = await load(*given)
        with suppress(TimeoutError):
            await asyncio.wait_for(closed.wait(), 1)
        return found

    async def closes(*given: Any) -> object:
        found = await close(*given)
        closed.set()
        return found

    monkeypatch.setattr(steps, "load", looks)
    monkeypatch.setattr(steps, "close", closes)
    handle = await stage.start(
        await published(stage, "look", "nodes:\n  hear: {type: wait, event: paid}\n"), {"text": "x"}
    )
    await asyncio.wait_for(first.reached.wait(), 60)

    await stage.wake(handle.id)
    await cancelled_late(handle, first)
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(handle.result(), 90)

    assert isinstance(failure.value.cause, CancelledError)
    assert ["cancelled"] == await ends(handle.id, stage)
    assert [] == await refused_tasks(handle)


async def test_a_step_that_ends_beside_one_that_fails_the_run_is_told_before_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people are asked at once, and for one the step is refused for good: the run fails in one workflow task."""
    opened, refused = asyncio.Event(), asyncio.Event()

    async def opens(given: OpenApprovalInput, *rest: Any) -> object:
        if given.node == "one":
            await opened.wait()
            refused.set()
            raise PermissionDenied("not for you")
        found = await open_approval(given, *rest)
        opened.set()
        await refused.wait()
        return found

    monkeypatch.setattr(steps, "open_approval", opens)
    handle = await stage.start(await published(stage, "beside", BESIDE), {"text": "x"})
    with pytest.raises(WorkflowFailureError, match="failed") as failure:
        await asyncio.wait_for(handle.result(), 90)

    assert "not for you" in str(failure.value.cause)
    assert [] == await refused_tasks(handle)


async def test_a_cancel_that_comes_together_with_the_end_of_a_call_ends_the_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both reach the run in one workflow task, since a look held up the one before."""
    slow = Slow(load, True)
    monkeypatch.setattr(steps, "load", slow)
    handle = await stage.start(await published(stage, "together", "nodes:\n" + speaks("soon")), {"text": "x"})
    await attempted(handle, stage, "held")
    await stage.wake(handle.id)
    await asyncio.wait_for(slow.reached.wait(), 60)
    await attempted(handle, stage, "settled")
    await asyncio.sleep(0.1)  # until Temporal has heard of it

    await cancelled_late(handle, slow)
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(handle.result(), 60)

    assert isinstance(failure.value.cause, CancelledError)
    assert ["cancelled"] == await ends(handle.id, stage)


async def attempted(handle: Handle, stage: Stage, state: str) -> None:
    """Once the one call of the run is so far."""
    read = "select 1 from attempts where run = %(run)s and state = %(state)s"
    async with asyncio.timeout(60):
        while not await stage.sql(read, run=handle.id, state=state):  # noqa: ASYNC110  # rows ring no bell
            await asyncio.sleep(0.02)


async def test_an_input_that_is_kept_while_another_step_fails_the_run_is_told_before_the_failure(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two branches one asks, which is refused for good, and the other has an input too large for history."""
    keeping, refused = asyncio.Event(), asyncio.Event()

    async def refuses(*given: Any) -> object:
        await keeping.wait()
        refused.set()
        raise PermissionDenied("not for you")

    async def keeps(*given: Any) -> object:
        found = await keep(*given)
        keeping.set()
        await refused.wait()
        return found

    monkeypatch.setattr(steps, "open_approval", refuses)
    monkeypatch.setattr(steps, "keep", keeps)
    body = "nodes:\n  go: {type: rules, default: {ok: {value: true}}}\n" + speaks("one") + speaks("both")
    body += "  ask: {type: human, show: {text: {value: may I?}}, assign: [support_lead]}\n"
    body += "edges:\n  - go -> one, ask\n  - one, ask -> both: {join: all}\n"
    graph = await published(stage, "keeps", body)
    handle = await stage.start(graph, {"text": "x" * 300_000})
    with pytest.raises(WorkflowFailureError, match="failed") as failure:
        await asyncio.wait_for(handle.result(), 60)

    assert "not for you" in str(failure.value.cause)
    assert [] == await refused_tasks(handle)


async def test_a_cancel_of_a_run_that_a_step_has_failed_changes_nothing_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run waits for another step before it fails, and is cancelled in that time: Temporal says why it failed."""
    tried, let_go = asyncio.Event(), asyncio.Event()

    async def opens(given: OpenApprovalInput, *rest: Any) -> object:
        if given.node == "one":
            await tried.wait()
            raise PermissionDenied("not for you")
        tried.set()
        if not let_go.is_set():
            raise StoreError("the database cannot be reached")
        return await open_approval(given, *rest)

    monkeypatch.setattr(steps, "open_approval", opens)
    handle = await stage.start(await published(stage, "beside", BESIDE), {"text": "x"})
    await asyncio.wait_for(tried.wait(), 60)
    await asyncio.sleep(1)  # until the run has heard of both
    await handle.cancel()
    await asyncio.sleep(1)
    let_go.set()
    with pytest.raises(WorkflowFailureError, match="failed") as failure:
        await asyncio.wait_for(handle.result(), 60)

    assert "not for you" in str(failure.value.cause)
    assert [] == await refused_tasks(handle)
