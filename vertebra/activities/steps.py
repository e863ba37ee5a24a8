"""The recorded steps of the shell as activities: they write rows of the run, and have no effect on anything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio import activity

from vertebra.activities.admit import admit
from vertebra.activities.close import close
from vertebra.activities.decide import decide
from vertebra.activities.keep import keep
from vertebra.activities.load import load
from vertebra.activities.open_approval import open_approval
from vertebra.activities.world import World
from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.schemas.run import (
    Admission,
    AdmitInput,
    CloseInput,
    DecideInput,
    DecideOutput,
    KeepInput,
    Loaded,
    LoadInput,
    OpenApprovalInput,
    OpenedApproval,
)


class Steps:
    """The steps of one worker, over its world."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def all(self) -> list[Callable[..., Awaitable[object]]]:
        """What a worker registers."""
        return [self.admit, self.decide, self.open_approval, self.load, self.keep, self.close]

    @activity.defn(name="admit")
    async def admit(self, given: AdmitInput) -> Admission:
        return await admit(given, _run(), self._world)

    @activity.defn(name="decide")
    async def decide(self, given: DecideInput) -> DecideOutput:
        return await decide(given, self._world)

    @activity.defn(name="open_approval")
    async def open_approval(self, given: OpenApprovalInput) -> OpenedApproval:
        return await open_approval(given, _run(), self._world)

    @activity.defn(name="load")
    async def load(self, given: LoadInput) -> Loaded:
        return await load(given, _run(), activity.info().workflow_run_id or "", self._world)

    @activity.defn(name="keep")
    async def keep(self, given: KeepInput) -> ArtifactRef:
        return await keep(given, DEFAULT_TENANT, self._world)

    @activity.defn(name="close")
    async def close(self, given: CloseInput) -> bool:
        return await close(given, _run(), self._world)


def _run() -> str:
    return activity.info().workflow_id or ""
