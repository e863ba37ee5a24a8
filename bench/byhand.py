"""What somebody without vertebra writes for the same shapes: plain workflows, one activity type, no gate."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

PLAIN_QUEUE, BOOKED_QUEUE = "bench-plain", "bench-booked"
"""The same workflows beside activities that do nothing, and beside activities that write two transactions."""
STEP = "step"
_TIMEOUT = timedelta(seconds=30)


async def _step(text: str) -> str:
    found: str = await workflow.execute_activity(STEP, text, result_type=str, start_to_close_timeout=_TIMEOUT)
    return found


@workflow.defn(name="hand-sequence")
class Sequence:
    """W1: activities one after the other."""

    @workflow.run
    async def run(self, text: str, steps: int) -> str:
        """The result of the last one."""
        found = text
        for _ in range(steps):
            found = await _step(text)
        return found


@workflow.defn(name="hand-fan")
class Fan:
    """W2: activities side by side, then one more."""

    @workflow.run
    async def run(self, text: str, branches: int) -> str:
        """The result of the one after all others."""
        await asyncio.gather(*(_step(text) for _ in range(branches)))
        return await _step(text)


@workflow.defn(name="hand-approval")
class Approval:
    """W4: a wait for a signal, then one activity."""

    def __init__(self) -> None:
        self._approved = False

    @workflow.run
    async def run(self, text: str) -> str:
        """The result of the activity."""
        await workflow.wait_condition(lambda: self._approved)
        return await _step(text)

    @workflow.signal
    def approve(self) -> None:
        """The decision."""
        self._approved = True


ALL = (Sequence, Fan, Approval)
