"""Where a resumed run goes on: the workflow task that scheduled the earliest work which the journal cannot answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio.api.history.v1 import HistoryEvent


@dataclass(slots=True)
class Scan:
    """What one history says, read event by event in order. Numbers are of WorkflowTaskCompleted events."""

    completed: list[int] = field(default_factory=list)
    scheduled: list[tuple[str, int]] = field(default_factory=list)
    """Activity id, and the task that scheduled it."""
    stop: int | None = None
    """The first task that read the command, or obeyed the cancellation, that ended the run, or that ended it itself."""
    _cancelled: bool = False

    def see(self, event: HistoryEvent, *, reads_end: bool = False) -> None:
        """Take the next event. `reads_end` says that it is the record of a step that read an abort or a cancel."""
        if event.HasField("workflow_task_completed_event_attributes"):
            self.completed.append(event.event_id)
            if self._cancelled:
                self._stop_at(event.event_id)
        elif event.HasField("activity_task_scheduled_event_attributes"):
            scheduled = event.activity_task_scheduled_event_attributes
            self.scheduled.append((scheduled.activity_id, scheduled.workflow_task_completed_event_id))
        elif event.HasField("workflow_execution_cancel_requested_event_attributes"):
            self._cancelled = True
        elif event.HasField("marker_recorded_event_attributes"):
            if reads_end:
                self._stop_at(event.marker_recorded_event_attributes.workflow_task_completed_event_id)
        elif event.HasField("workflow_execution_failed_event_attributes"):
            self._stop_at(event.workflow_execution_failed_event_attributes.workflow_task_completed_event_id)
        elif event.HasField("workflow_execution_canceled_event_attributes"):
            self._stop_at(event.workflow_execution_canceled_event_attributes.workflow_task_completed_event_id)
        elif event.HasField("workflow_execution_completed_event_attributes"):
            self._stop_at(event.workflow_execution_completed_event_attributes.workflow_task_completed_event_id)

    def _stop_at(self, task: int) -> None:
        self.stop = self.stop or task

    def point(self, done: frozenset[str]) -> int | None:
        """The task to reset to, given the activities that the journal answers; None if no task ever completed."""
        for activity, task in self.scheduled:
            if activity not in done:
                return task
        before = [task for task in self.completed if self.stop is None or task < self.stop]
        if before:
            return before[-1]
        return self.completed[0] if self.completed else None
