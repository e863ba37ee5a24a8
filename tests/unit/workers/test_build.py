"""What a worker is built from, where the library has no option for it."""

from __future__ import annotations

import inspect

from temporalio.worker import Worker, _workflow


def test_the_library_waits_as_long_as_its_private_attribute_says() -> None:
    """A release that keeps its limit of a hung task elsewhere must not give us its own two seconds back unseen."""
    tasks = inspect.getsource(_workflow._WorkflowWorker)

    assert "self._deadlock_timeout_seconds = " in tasks
    assert "activate_task, self._deadlock_timeout_seconds" in " ".join(tasks.split())
    assert "self._workflow_worker = _WorkflowWorker(" in inspect.getsource(Worker)
