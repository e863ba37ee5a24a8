"""What the histories of ended runs must tell: no task refused, no cancel lost, the end that the row says, no drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio.api.enums.v1 import EventType, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.stage import Stage
from vertebra.store.transaction import Row
from vertebra.workers.plugin import plugin

ENDS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: ("completed",),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: ("cancelled",),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: ("aborted", "cancelled", "failed"),
}


async def executions(stage: Stage, run: str) -> list[WorkflowHistory]:
    """The histories of a run, oldest first."""
    [row] = await stage.sql("select chain from runs where id = %(run)s", run=run)
    found: list[WorkflowHistory] = []
    execution: str = row["chain"]
    while execution:
        history = await stage.client.get_workflow_handle(run, run_id=execution).fetch_history()
        found.append(history)
        last = history.events[-1]
        execution = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return found


Stop = tuple[datetime, datetime]
"""From when to when a worker was stopped."""


async def complaints(stage: Stage, run: str, stops: Sequence[Stop], seen: Counter[str]) -> list[str]:
    """What is wrong with this run, which has ended; `seen` counts what may be."""
    [row] = await stage.sql("select * from runs where id = %(run)s", run=run)
    chain = await executions(stage, run)
    seen["executions"] += len(chain)
    found = [*_end(row, chain[-1].events[-1]), *await _left(stage, run)]
    for number, history in enumerate(chain):
        mine = [*_tasks(history.events, stops, seen), *_lost_cancel(history.events, last=history is chain[-1])]
        result = await Replayer(workflows=[], plugins=[plugin()]).replay_workflow(
            history, raise_on_replay_failure=False
        )
        if result.replay_failure is not None:
            mine.append(f"drift: {result.replay_failure}")
        found += [f"execution {number}: {text}" for text in mine]
    return [f"{run}: {text}" for text in found]


def _end(row: Row, last: HistoryEvent) -> list[str]:
    """The row and Temporal say the same end."""
    if row["ended_at"] is None or row["state"] not in ENDS.get(last.event_type, ()):
        return [f"its row says {row['state']} at {row['ended_at']}, Temporal {EventType.Name(last.event_type)}"]
    kind = last.workflow_execution_failed_event_attributes.failure.application_failure_info.type
    return [f"its row says {row['state']}, its failure {kind}"] if kind and kind.lower() != row["state"] else []


async def _left(stage: Stage, run: str) -> list[str]:
    """Nobody is asked for anything, and no money is held but for lost attempts."""
    waits = await stage.sql("select node, kind from waits where run = %(run)s", run=run)
    held = await stage.sql("select call from attempts where run = %(run)s and state = 'held'", run=run)
    return [f"it still waits: {row}" for row in waits] + [f"it still holds: {row}" for row in held]


def _tasks(events: Sequence[HistoryEvent], stops: Sequence[Stop], seen: Counter[str]) -> list[str]:
    """A workflow task may fail since something came meanwhile, and time out where its worker was stopped."""
    found: list[str] = []
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event.workflow_task_failed_event_attributes
            seen[cause := WorkflowTaskFailedCause.Name(failed.cause)] += 1
            if failed.cause != WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND:
                found.append(f"task {event.event_id} failed by {cause}: {failed.failure.message}")
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
            told = event.workflow_task_timed_out_event_attributes
            seen[TimeoutType.Name(told.timeout_type)] += 1
            if told.timeout_type == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE:
                begun, until = _moment(events[told.started_event_id - 1]), _moment(event)
                if not any(begun <= stop[1] and stop[0] <= until for stop in stops):
                    found.append(f"task {event.event_id} timed out, and no worker was stopped")
    return found


def _moment(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(UTC)


def _lost_cancel(events: Sequence[HistoryEvent], *, last: bool) -> list[str]:
    """An execution that is cancelled does not continue, and makes no call in a task that knows of it."""
    asked = [
        event.event_id
        for event in events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
    ]
    if asked and not last:
        return ["it was cancelled and continued as new"]
    found: list[str] = []
    for event in events:
        if asked and event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            task = events[event.activity_task_scheduled_event_attributes.workflow_task_completed_event_id - 1]
            if task.workflow_task_completed_event_attributes.started_event_id > asked[0]:
                found.append(f"call {event.event_id} after cancel {asked[0]}")
    return found
