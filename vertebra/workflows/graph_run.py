"""The workflow of every published graph: its type is the graph's name.

The library runs this module anew for every run, so it holds no more than what Temporal calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue

from vertebra.schemas.canonical import Json
from vertebra.workflows.interpreter import Interpreter


@workflow.defn(dynamic=True)
class GraphRun:
    """One run."""

    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        self._interpreter = Interpreter()

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Json:
        """Run the graph to its end; the result is the graph's output. Fails with Aborted, Cancelled or BadStart."""
        return await self._interpreter.run(args)

    @workflow.signal(dynamic=True)
    async def woken(self, name: str, args: Sequence[RawValue]) -> None:
        """Any signal, of any name and content, only means: look again."""
        self._interpreter.wake()

    @workflow.query
    def state(self) -> Json:
        """The path taken so far, and what waits for whom."""
        return self._interpreter.shown()

    def context_for(self, activity_id: str) -> str:
        """The context id that the outbound interceptor puts into the header of this activity."""
        return self._interpreter.context_for(activity_id)
