"""The shapes that are timed one run at a time, each for vertebra and for its rivals: W1, W2, W3, W4 and W6."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass

from temporalio.client import WorkflowHandle

from bench import byhand
from bench.measure import Sample
from bench.project import BRANCHES, INPUT, LONG, SEQUENCE
from bench.stage import Stage
from vertebra.client import temporal
from vertebra.client.approvals import Verdict, approval, decide, pending
from vertebra.client.starts import start_of

VERTEBRA, PLAIN, BOOKED = "vertebra", "by hand", "by hand, two transactions"
QUEUES = {PLAIN: byhand.PLAIN_QUEUE, BOOKED: byhand.BOOKED_QUEUE}
SETTLE_S = 0.1
"""Between the last thing that a waiting run does and the decision that is timed."""
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Shape:
    """What is timed. `goal` is the largest ratio to the plain rival, or `goal_ms` the largest difference."""

    name: str
    what: str
    samples: dict[str, Sample]
    goal: float | None = None
    goal_ms: float | None = None
    rounds: int | None = None
    """At most so many rounds, where one takes seconds."""


@dataclass(frozen=True)
class Hand:
    """A hand-written workflow with its arguments."""

    workflow: str
    args: tuple[object, ...]


def shapes(stage: Stage) -> list[Shape]:
    """All of them, over one stage."""
    runs = Runs(stage)
    long = Hand("hand-sequence", (INPUT, LONG))
    sequence, fan = Hand("hand-sequence", (INPUT, SEQUENCE)), Hand("hand-fan", (INPUT, BRANCHES))
    return [
        Shape("W1", f"{SEQUENCE} nodes in sequence", _whole(runs, "w1", sequence), goal=1.25),
        Shape("W2", f"{BRANCHES} nodes in parallel, then one", _whole(runs, "w2", fan), goal=1.25),
        Shape("W3", f"{LONG} nodes in sequence", _whole(runs, "w3", long), goal=1.25, rounds=7),
        Shape("W4", "a decision, to the run's end with one node after", _approvals(runs), goal=1.5),
        Shape("W6", "a start, acknowledged", _starts(runs), goal_ms=4.0),
        Shape("W1g", "W1 with a guardrail before every call", _whole(runs, "w1-guarded", sequence)),
    ]


class Runs:
    """Starts runs of either side."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def ours(self, graph: str) -> WorkflowHandle[object, object]:
        """Start as `vertebra run` does: input checked, ticket signed."""
        wanted = start_of(self._stage.graphs[graph], {"text": INPUT}, self._stage.signer)
        await temporal.start(self._stage.client, wanted)
        return self._stage.client.get_workflow_handle(wanted.run)

    async def theirs(self, rival: str, hand: Hand) -> WorkflowHandle[object, object]:
        """Start a hand-written workflow."""
        id_ = f"hand-{next(_NUMBERS)}-{time.time_ns()}"
        return await self._stage.plain.start_workflow(hand.workflow, args=hand.args, id=id_, task_queue=QUEUES[rival])

    async def decided(self, run: str) -> None:
        """Wait until the run asks a person, and commit the decision. Only the wake is missing then."""
        rows = await pending(self._stage.api, run)
        for _ in range(1000):
            if rows:
                break
            await asyncio.sleep(0.01)
            rows = await pending(self._stage.api, run)
        found = await approval(self._stage.api, rows[0]["id"])
        await asyncio.sleep(SETTLE_S)
        await decide(self._stage.api, self._stage.signer, found, Verdict("approve", found.asked.digest))


def _whole(runs: Runs, graph: str, hand: Hand) -> dict[str, Sample]:
    """From the start to the result."""

    async def ours() -> float:
        began = time.perf_counter()
        await (await runs.ours(graph)).result()
        return _since(began)

    def theirs(rival: str) -> Sample:
        async def sample() -> float:
            began = time.perf_counter()
            await (await runs.theirs(rival, hand)).result()
            return _since(began)

        return sample

    return {VERTEBRA: ours, **{rival: theirs(rival) for rival in QUEUES}}


def _approvals(runs: Runs) -> dict[str, Sample]:
    """From the signal, the decision being committed, to the result."""

    async def ours() -> float:
        handle = await runs.ours("w4")
        await runs.decided(handle.id)
        return await _signalled(handle, temporal.WAKE)

    def theirs(rival: str) -> Sample:
        async def sample() -> float:
            handle = await runs.theirs(rival, Hand("hand-approval", (INPUT,)))
            await asyncio.sleep(SETTLE_S)
            return await _signalled(handle, "approve")

        return sample

    return {VERTEBRA: ours, **{rival: theirs(rival) for rival in QUEUES}}


async def _signalled(handle: WorkflowHandle[object, object], name: str) -> float:
    began = time.perf_counter()
    await handle.signal(name)
    await handle.result()
    return _since(began)


def _starts(runs: Runs) -> dict[str, Sample]:
    """From the wish to the acknowledgement; what the run then does is waited for, not timed."""

    async def ours() -> float:
        began = time.perf_counter()
        handle = await runs.ours("w1")
        took = _since(began)
        await handle.result()
        return took

    def theirs(rival: str) -> Sample:
        async def sample() -> float:
            began = time.perf_counter()
            handle = await runs.theirs(rival, Hand("hand-sequence", (INPUT, SEQUENCE)))
            took = _since(began)
            await handle.result()
            return took

        return sample

    return {VERTEBRA: ours, **{rival: theirs(rival) for rival in QUEUES}}


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
