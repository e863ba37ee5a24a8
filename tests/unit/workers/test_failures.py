"""What a failure leaves in history."""

from __future__ import annotations

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultPayloadConverter
from temporalio.exceptions import ApplicationError

from vertebra.workers.failures import Untraced


def failure_of(error: BaseException) -> Failure:
    """The failure of an error that was really raised."""
    made = Failure()
    try:
        raise error
    except BaseException as raised:
        Untraced().to_failure(raised, DefaultPayloadConverter(), made)
    return made


def test_the_gates_own_errors_leave_no_stack() -> None:
    """History tells the reason and its type, and no folder of the worker's machine."""
    made = failure_of(ApplicationError("held", type="Hold", non_retryable=True))

    assert ("held", "Hold", "") == (made.message, made.application_failure_info.type, made.stack_trace)


def test_a_defect_keeps_its_stack() -> None:
    """Where something unforeseen went wrong, the place is what helps."""
    assert __file__ in failure_of(KeyError("x")).stack_trace
