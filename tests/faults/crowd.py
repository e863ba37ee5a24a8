"""A crowd of runs, started whatever is away just then: those that Temporal has acknowledged count."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from tests.faults.plant import OUTAGE_S, TICKETS, Plant
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph

ENDURES = """
graph: endures
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}, answer: {type: string, from: state.answer}}
state: {said: {type: string, default: nothing}, answer: {type: string, default: none}}
spine:
  {principal: svc-support, permissions: [execute_tools], tools: [send_email, python], expires_in: 8h,
   budget: {usd: 50.00, tokens: 100000000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  speak: {agent: speaker, input: {text: input.text}, write: {said: text}}
  compute:
    type: tool
    tool: python
    args: {code: {value: "import time; time.sleep(0.2); print(6 * 7)"}}
    write: {answer: stdout}
  send: {type: tool, tool: send_email, args: {to: {value: ada@example.org}, subject: {value: hello}, text: state.said}}
edges:
  - speak -> compute
  - compute -> send
"""
"""One effect of each class that runs by itself: a model call, code in the sandbox, a keyed mail."""
needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)")
OUTPUT = {"said": "spoken", "answer": "42\n"}
REPLIES: list[Json] = [
    {"match": "slowly", "reply": "spoken", "delay": "1200ms"},
    {"reply": "spoken", "delay": "300ms"},
]
"""Of its node `speak`."""
_LOOK_S = 0.2
_START_S = 10.0
"""A call to a server that was killed under it may never end; the run's id makes it safe to ask again."""


@dataclass
class Crowd:
    """Starts runs of `graph`, and every `ticket_every`-th time a ticket of the support project."""

    plant: Plant
    graph: CompiledGraph
    chance: random.Random
    name: str
    ticket_every: int = 0
    runs: list[str] = field(default_factory=list)
    """Those that Temporal has acknowledged."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def start(self, number: int) -> None:
        """So many more."""
        for _ in range(number):
            await self._start_next()

    async def feed(self, total: int, at_once: int) -> None:
        """Until so many are started, with never more than `at_once` under way."""
        while len(self.runs) < total:
            await self.start(min(at_once - await self.open(), total - len(self.runs)))
            await asyncio.sleep(_LOOK_S)

    async def open(self) -> int:
        """How many have not ended."""
        rows = await self.plant.sql(
            "select count(*) as ended from runs where id = any(%(runs)s) and ended_at is not null", runs=self.runs
        )
        return len(self.runs) - int(rows[0]["ended"])

    async def results(self) -> dict[str, object]:
        """What Temporal says of each run; of one that failed its error."""
        found: dict[str, object] = {}
        for run in self.runs:
            try:
                found[run] = await self.plant.stage.client.get_workflow_handle(run).result()
            except WorkflowFailureError as error:
                found[run] = error.cause
        return found

    async def _start_next(self) -> None:
        number = next(self._numbers)
        run = f"{self.name}-{number}"
        if self.ticket_every and number % self.ticket_every == 0:
            await self._start(run, self.plant.stage.support, TICKETS[number // self.ticket_every % len(TICKETS)])
        else:
            pace = "slowly" if self.chance.random() < 0.5 else "quickly"
            await self._start(run, self.graph, {"text": f"{number} {pace}"})
        self.runs.append(run)

    async def _start(self, run: str, graph: CompiledGraph, input: dict[str, Json]) -> None:
        """Until Temporal says yes: it may be away."""
        deadline = time.monotonic() + OUTAGE_S
        while True:
            try:
                async with asyncio.timeout(_START_S):
                    await self.plant.stage.start(graph, input, run=run)
                return
            except WorkflowAlreadyStartedError:
                return  # an earlier try arrived, and only its answer was lost
            except (RPCError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_LOOK_S)
