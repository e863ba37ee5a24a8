"""Every activity that the shell schedules, by name, with its timeout, in one place."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    FailureError,
    ServerError,
    TimeoutError,
)

from vertebra.engine import commands, events
from vertebra.schemas.call import ArtifactRef, CallError, CallInput, CallResult, Hold
from vertebra.schemas.ids import EFFECTS
from vertebra.schemas.run import (
    Admission,
    AdmitInput,
    CloseInput,
    DecideInput,
    DecideOutput,
    Ended,
    KeepInput,
    Loaded,
    LoadInput,
    OpenApprovalInput,
    OpenedApproval,
)

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
LOCAL_TIMEOUT = timedelta(seconds=2)
MARGIN_S = 5
"""How much longer an attempt may take than the call in it: the gate's own transactions, and a margin."""
LOCAL_WAIT_S, LOCAL_WAIT_MAX_S = 5, 300
RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=2), backoff_coefficient=2, maximum_interval=timedelta(seconds=60)
)
"""Attempts are unlimited within the deadline; the gate counts those that left it."""
SUMMARY_CHARS = 80
ONCE = RetryPolicy(maximum_attempts=1)

Out = TypeVar("Out")


def schedule(call: commands.Call, given: CallInput) -> workflow.ActivityHandle[CallResult]:
    """Schedule one gated call."""
    return workflow.start_activity(
        call.input.kind,
        given,
        result_type=CallResult,
        activity_id=call.activity_id,
        task_queue=EFFECTS,
        summary=call.summary,
        start_to_close_timeout=timedelta(seconds=call.timeout_s + MARGIN_S),
        schedule_to_close_timeout=timedelta(seconds=call.deadline_s),
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=RETRY,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def event_of(call: commands.Call, error: ActivityError) -> events.Event | None:
    """What a failed activity means to the run; None when only its deadline passed and it is to be scheduled again."""
    cause = error.cause
    if isinstance(cause, CancelledError):
        return events.CallCancelled(call.activity_id)
    if isinstance(cause, TimeoutError):
        return None
    if isinstance(cause, ApplicationError):
        return named(call, cause)
    kind = "ServerError" if isinstance(cause, ServerError) else type(cause).__name__
    return events.CallFailed(call.activity_id, _error(call, kind, str(cause), 0, None))


def named(call: commands.Call, cause: ApplicationError) -> events.Event:
    """What an error by which a call ended for good means to the run."""
    if cause.type == "Hold" and cause.details:
        return events.HoldOpened(call.activity_id, Hold.model_validate(cause.details[0]))
    detail = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
    attempts, advice = detail.get("attempts", 0), detail.get("do")
    error = _error(call, cause.type or "Error", cause.message, attempts if isinstance(attempts, int) else 0, advice)
    return events.CallFailed(call.activity_id, error)


def _error(call: commands.Call, kind: str, message: str, attempts: int, advice: object) -> CallError:
    return CallError(
        type=kind,
        message=message,
        node=call.input.node,
        visit=call.input.visit,
        attempts=attempts,
        do=advice if isinstance(advice, str) else None,
    )


async def admit(given: AdmitInput) -> Admission:
    """Let the run in. Raises ApplicationError (non-retryable) if the start is refused."""
    return await _recorded("admit", given, Admission, given.graph)


async def decide(given: DecideInput) -> DecideOutput:
    """Evaluate conditions in the guarded child; a failed condition is an answer without a value."""
    return await _recorded("decide", given, DecideOutput, f"{len(given.requests)} conditions")


async def open_approval(given: OpenApprovalInput) -> OpenedApproval:
    """Write the approval row of a human node, or find it."""
    return await _recorded("open_approval", given, OpenedApproval, given.node)


async def load(given: LoadInput) -> Loaded:
    """Write down what waits, and return the verified standing answers."""
    return await _recorded("load", given, Loaded, ", ".join(sorted({ask.node for ask in given.asks})))


async def keep(given: KeepInput) -> ArtifactRef:
    """Store a value too large for history as an artifact."""
    return await _recorded("keep", given, ArtifactRef, f"{len(given.text)} characters")


async def close(given: CloseInput) -> Ended | None:
    """Write the run's end; the end that is written where an earlier task wrote one that Temporal did not take."""
    said = await _recorded("close", given, object, given.end)
    return Ended.model_validate(said) if isinstance(said, dict) else None


async def _recorded(name: str, given: object, result: type[Out], summary: str) -> Out:
    """Run a recorded step as a local activity; while the store is away, wait on a durable timer and try again."""
    wait_s = LOCAL_WAIT_S
    while True:
        try:
            found: Out = await workflow.execute_local_activity(
                name,
                given,
                result_type=result,
                start_to_close_timeout=LOCAL_TIMEOUT,
                schedule_to_close_timeout=LOCAL_TIMEOUT,
                retry_policy=ONCE,
                summary=summary[:SUMMARY_CHARS] or None,
            )
            return found
        except FailureError as error:
            # a local activity's own error comes bare; one that timed out or was cancelled comes wrapped at first, and
            # bare when it is replayed: both must lead to the same commands
            cause = error.cause if isinstance(error, ActivityError) else error
            if isinstance(cause, CancelledError) or (isinstance(cause, ApplicationError) and cause.non_retryable):
                raise cause from None
        await workflow.sleep(wait_s)
        wait_s = min(2 * wait_s, LOCAL_WAIT_MAX_S)
