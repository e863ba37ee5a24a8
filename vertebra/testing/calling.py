"""One scheduled call as Temporal would run it: attempts with their backoff, through the gate, on the virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from vertebra.activities.effects import KINDS
from vertebra.activities.performed import Performed
from vertebra.engine import commands, events
from vertebra.schemas.call import CallResult
from vertebra.schemas.errors import VertebraError
from vertebra.schemas.graph import Retry
from vertebra.schemas.run import Admission
from vertebra.testing.requests import FakeEgress, sendable
from vertebra.testing.stage import Stage
from vertebra.workers import errors
from vertebra.workers.gate.parts import Attempt
from vertebra.workers.gate.passage import Stopped, cross
from vertebra.workers.gate.turns import Turns
from vertebra.workers.interceptor import Named, Pins, asked, caller
from vertebra.workflows import calls


def _least(low: float, high: float) -> float:
    """No chance in a play: the shortest backoff."""
    return low


@dataclass(slots=True)
class Calling:
    """What all calls of one run share."""

    stage: Stage
    admission: Admission
    execution: str
    turns: Turns
    pins: dict[str, Pins] = field(default_factory=dict)

    async def scheduled(self, call: commands.Call) -> events.Event:
        """The call until it ends for good, or is held."""
        clock, attempt = self.stage.clock, 0
        deadline = clock.now() + timedelta(seconds=call.deadline_s)
        while True:
            attempt += 1
            try:
                return events.CallFinished(call.activity_id, await self._attempt(call))
            except Stopped as stopped:
                error = errors.told(stopped, attempt, self._retry(call), _least)
            except VertebraError as trouble:
                error = errors.of(trouble)
            except ApplicationError as refused:
                error = refused
            wait = error.next_retry_delay or _backoff(attempt)
            if error.non_retryable or clock.now() + wait > deadline:
                return calls.named(call, error)
            await clock.sleep(wait.total_seconds())

    async def _attempt(self, call: commands.Call) -> CallResult:
        context = self.admission.contexts[call.agent]
        named = Named(self.admission.run, call.activity_id, self.execution, context)
        world = self.stage.world
        gated = await asked(call.input.kind, call.input, named, world, self.pins)

        async def perform(attempt: Attempt) -> Performed:
            # calls that were sent together hold their money together, before the first of them ends
            await self.stage.clock.sleep(0)
            # a host does not know which node asks; who answers for it must
            out = FakeEgress(sendable(gated.graph), self.stage.bench, gated.node.id)
            performed: Performed = await KINDS[gated.prepared.kind].perform(
                gated.prepared, gated.graph, gated.node, caller(gated, attempt), replace(world, egress=out)
            )
            return performed

        return await cross(gated, world, self.turns, perform)

    def _retry(self, call: commands.Call) -> Retry:
        return self.stage.published.graph.nodes[call.input.node].retry


def _backoff(attempt: int) -> timedelta:
    """What Temporal waits where the error names no delay."""
    first, most = calls.RETRY.initial_interval, calls.RETRY.maximum_interval
    wait = first * calls.RETRY.backoff_coefficient ** (attempt - 1)
    return wait if most is None else min(wait, most)
