"""The keeper's loop, where a resumed run goes on, and when people are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

from structlog.testing import capture_logs
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from vertebra.activities.world import World
from vertebra.schemas.errors import StoreError
from vertebra.workers.keeper import DUTIES, Keeper, resume
from vertebra.workers.keeper.duty import BATCH, Duty, Office, Times
from vertebra.workers.keeper.reminders import times_of
from vertebra.workers.keeper.reset_point import Scan

WORLD = cast(World, None)
CLIENT = cast(Client, None)


def duty(name: str, results: Sequence[int | Exception], passes: list[str]) -> Duty:
    left = list(results)

    async def do(office: Office) -> int:
        passes.append(name)
        result = left.pop(0) if left else 0
        if isinstance(result, Exception):
            raise result
        return result

    return Duty(name, do, lambda times: times.wake_s)


async def run_until(done: Callable[[], bool], keeper: Keeper) -> None:
    """However long that takes on this machine."""
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110  # the duties know of no event
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def keeping(*duties: Duty) -> Keeper:
    return Keeper(WORLD, CLIENT, Times(wake_s=0.01), duties)


async def test_a_failing_duty_is_logged_and_stops_no_other() -> None:
    """Store trouble and a plain bug cost their duty a pause, and the other duties nothing."""
    passes: list[str] = []
    store = duty("store", [StoreError("Postgres is away")] * 20, passes)
    bug = duty("bug", [RuntimeError("a bug")] * 20, passes)
    with capture_logs() as logs:
        await run_until(lambda: passes.count("fine") > 20, keeping(store, bug, duty("fine", [], passes)))

    assert {"store": "a duty could not be done", "bug": "a duty failed"} == {log["duty"]: log["event"] for log in logs}
    assert passes.count("fine") > 2 * passes.count("store") > 0
    assert passes.count("fine") > 2 * passes.count("bug") > 0


async def test_a_failed_duty_is_tried_again() -> None:
    """After its pause the duty runs as before."""
    passes: list[str] = []
    with capture_logs():
        await run_until(lambda: len(passes) > 5, keeping(duty("store", [StoreError("away")], passes)))

    assert {"store"} == set(passes)


async def test_a_full_batch_is_followed_at_once() -> None:
    """Only a pass that found less than a batch waits for its interval."""
    passes: list[str] = []
    keeper = Keeper(WORLD, CLIENT, Times(wake_s=60), (duty("wake", [BATCH, BATCH, 1], passes),))
    await run_until(lambda: len(passes) > 2, keeper)

    assert ["wake"] * 3 == passes


async def test_a_duty_may_have_smaller_batches() -> None:
    """What is full is told by the duty: resumes are taken up few at a time, and one pass follows the other too."""
    passes: list[str] = []
    few = replace(duty("resume", [5, 5, 1], passes), batch=5)
    await run_until(lambda: len(passes) > 2, Keeper(WORLD, CLIENT, Times(wake_s=60), (few,)))

    assert ["resume"] * 3 == passes
    assert resume.AT_ONCE == resume.RESUME.batch


def test_every_duty_has_a_name_and_a_time() -> None:
    """The visible list is complete: names differ, intervals are positive."""
    assert len(DUTIES) == len({duty.name for duty in DUTIES})
    assert all(duty.every(Times()) > 0 for duty in DUTIES)


def test_reminders_come_in_the_order_of_their_times() -> None:
    """The escalation stands between the reminders where its time is; a reminder of the same time comes first."""
    at = datetime(2026, 1, 31, tzinfo=UTC)
    hours = [at + timedelta(hours=number) for number in range(3)]

    told = times_of({"remind": [hours[2], hours[0], hours[1]], "escalate_after": hours[1]})

    assert [
        (hours[0], "approval_reminder"),
        (hours[1], "approval_reminder"),
        (hours[1], "approval_escalated"),
        (hours[2], "approval_reminder"),
    ] == told
    assert [] == times_of({"remind": [], "escalate_after": None})


def task(number: int) -> HistoryEvent:
    event = HistoryEvent(event_id=number)
    event.workflow_task_completed_event_attributes.SetInParent()
    return event


def activity(name: str, by: int) -> HistoryEvent:
    event = HistoryEvent()
    event.activity_task_scheduled_event_attributes.activity_id = name
    event.activity_task_scheduled_event_attributes.workflow_task_completed_event_id = by
    return event


def marker(by: int) -> HistoryEvent:
    event = HistoryEvent()
    event.marker_recorded_event_attributes.workflow_task_completed_event_id = by
    return event


def failed(by: int) -> HistoryEvent:
    event = HistoryEvent()
    event.workflow_execution_failed_event_attributes.workflow_task_completed_event_id = by
    return event


def cancel() -> HistoryEvent:
    event = HistoryEvent()
    event.workflow_execution_cancel_requested_event_attributes.SetInParent()
    return event


def scan(*events: HistoryEvent, end: HistoryEvent | None = None) -> Scan:
    found = Scan()
    for event in events:
        found.see(event, reads_end=event is end)
    return found


def test_the_reset_point_scheduled_the_earliest_unfinished_call() -> None:
    """Not the last task: that one keeps the failure, and the run would fail again."""
    found = scan(task(4), activity("a#1", 4), task(10), activity("b#1", 10), activity("c#1", 10), task(16), failed(16))

    assert 10 == found.point(frozenset({"a#1", "c#1"}))
    assert 4 == found.point(frozenset())


def test_a_call_that_was_sent_again_counts_as_finished_once_it_is_done() -> None:
    """A held call has two schedules of one activity; the journal answers both."""
    found = scan(task(4), activity("a#1", 4), task(10), activity("a#1", 10), task(16))

    assert 16 == found.point(frozenset({"a#1"}))
    assert 4 == found.point(frozenset())


def test_without_unfinished_calls_the_end_is_taken_back() -> None:
    """The last task before the one that ended the run; all tasks, where none ended it (terminated, timed out)."""
    assert 10 == scan(task(4), task(10), task(16), failed(16)).point(frozenset())
    assert 16 == scan(task(4), task(10), task(16)).point(frozenset())


def test_the_task_that_read_an_abort_is_taken_back() -> None:
    """The run would die of the same command again."""
    read = marker(10)

    found = scan(task(4), task(10), read, marker(10), task(16), failed(16), end=read)

    assert 4 == found.point(frozenset())


def test_the_task_that_obeyed_a_cancellation_is_taken_back() -> None:
    """Cancel requests are not applied again."""
    assert 4 == scan(task(4), cancel(), task(10), task(16)).point(frozenset())


def test_a_run_that_ended_in_its_first_task_starts_over() -> None:
    """The first task is the only point there is; without any, there is none."""
    assert 4 == scan(task(4), failed(4)).point(frozenset())
    assert scan().point(frozenset()) is None
