"""A loop of plan, act and observe: whether its hundredth round is as quick as its first."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from temporalio.client import WorkflowHandle

from bench.measure import Spread, spread
from bench.shapes import Runs
from bench.stage import Stage

GOAL = 1.1
AROUND = 10
"""Rounds that stand for the first and for the last: a single one is a matter of luck."""


async def loops(stage: Stage, times: int) -> tuple[Spread, Spread]:
    """Milliseconds of a round, and the last rounds' median to the first rounds'."""
    runs = Runs(stage)
    found = []
    for number in range(times + 1):
        handle = await runs.ours("loop")
        await handle.result()
        if number:  # the first warms up
            found.append(await _rounds(handle))
    growth = spread(statistics.median(one[-AROUND:]) / statistics.median(one[:AROUND]) for one in found)
    return spread(took for one in found for took in one), growth


async def _rounds(handle: WorkflowHandle[object, object]) -> Sequence[float]:
    """What each round took, by the server's own clock: from one `plan` scheduled to the next."""
    history = await handle.fetch_history()
    scheduled = [
        event.event_time.ToNanoseconds() / 1e6
        for event in history.events
        if event.activity_task_scheduled_event_attributes.activity_id.startswith("plan#")
    ]
    return [after - before for before, after in pairwise(scheduled)]
