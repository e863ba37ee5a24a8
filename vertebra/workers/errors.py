"""The one map from what went wrong to what Temporal is told: type, whether it is tried again, after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from vertebra.activities.performed import Performed
from vertebra.schemas.call import CallError
from vertebra.schemas.errors import NotFound, StoreError, TamperedRow, VertebraError
from vertebra.schemas.graph import Retry
from vertebra.workers.gate.element import Denied, Held
from vertebra.workers.gate.passage import Stopped

Jitter = Callable[[float, float], float]
"""Gives a factor between two."""


def told(stopped: Stopped, attempt: int, retry: Retry, jitter: Jitter = random.uniform) -> ApplicationError:
    """What the gate's stop means to Temporal."""
    if isinstance(stopped.verdict, Held):
        hold = stopped.verdict.hold
        detail = hold.model_dump(mode="json")
        return ApplicationError(stopped.verdict.reason, detail, type="Hold", non_retryable=True)
    if isinstance(stopped.verdict, Denied):
        return _failure(stopped.verdict.error)
    performed = stopped.performed
    assert performed is not None
    error = performed.error or CallError(type="Unknown", message="the attempt ended without a reason")
    if performed.status != "again":
        return _failure(error)
    delay = timedelta(seconds=_delay_s(performed, attempt, retry, jitter))
    return ApplicationError(error.message, _detail(error), type=error.type, next_retry_delay=delay)


def of(error: VertebraError) -> ApplicationError:
    """An error outside the gate: store trouble is tried again; what is not there, or is wrong, would stay so."""
    again = isinstance(error, StoreError) and not isinstance(error, TamperedRow | NotFound)
    detail = {"do": error.do, "attempts": 0}
    return ApplicationError(str(error), detail, type=type(error).__name__, non_retryable=not again)


def _failure(error: CallError) -> ApplicationError:
    return ApplicationError(error.message, _detail(error), type=error.type, non_retryable=True)


def _detail(error: CallError) -> dict[str, str | int | None]:
    return {"do": error.do, "attempts": error.attempts}


def _delay_s(performed: Performed, attempt: int, retry: Retry, jitter: Jitter) -> float:
    """The vendor's own delay wins; else 2, 4, 8 s.. up to the limit, with up to a quarter of jitter."""
    if performed.retry_after_s is not None:
        return performed.retry_after_s
    delay_ms = min(retry.backoff_ms * int(retry.factor ** (attempt - 1)), retry.max_ms)
    return delay_ms / 1000 * jitter(1.0, 1.25)
