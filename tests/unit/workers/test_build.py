"""What a worker is built from, where the library has no option for it."""

from __future__ import annotations

import inspect

from temporalio.bridge.proto.activity_task import Cancel
from temporalio.worker import Worker, _activity, _workflow


def test_the_library_waits_as_long_as_its_private_attribute_says() -> None:
    """A release that keeps its limit of a hung task elsewhere must not give us its own two seconds back unseen."""
    tasks = inspect.getsource(_workflow._WorkflowWorker)

    assert "self._deadlock_timeout_seconds = " in tasks
    assert "activate_task, self._deadlock_timeout_seconds" in " ".join(tasks.split())
    assert "self._workflow_worker = _WorkflowWorker(" in inspect.getsource(Worker)


def test_a_cancellation_that_comes_too_late_ends_no_worker_of_a_test() -> None:
    """An activity may end while its cancellation is under way. The library warns, and here a warning is an error."""
    worker = _activity._ActivityWorker.__new__(_activity._ActivityWorker)
    worker._running_activities = {}

    worker._handle_cancel_activity_task(b"ended", Cancel())
