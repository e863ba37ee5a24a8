"""The recorded steps of the shell as activities: they write rows of the run, and have no effect on anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Literal, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger
from temporalio import activity

from vertebra.activities.admit import admit
from vertebra.activities.close import close
from vertebra.activities.decide import decide
from vertebra.activities.keep import keep
from vertebra.activities.kept import Kept
from vertebra.activities.load import load
from vertebra.activities.open_approval import open_approval
from vertebra.activities.world import World
from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.errors import NotFound, VertebraError
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
from vertebra.store.queries import named
from vertebra.store.transaction import Query, once

MAX_FAILING = 1_000
"""Steps whose failures in a row one worker counts."""
Out = TypeVar("Out")

_log: FilteringBoundLogger = structlog.get_logger("vertebra.steps")


class Steps:
    """The steps of one worker, over its world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._failed: Kept[tuple[str, str], int] = Kept(MAX_FAILING)
        """How often a step of a run has failed in a row."""

    @property
    def all(self) -> list[Callable[..., Awaitable[object]]]:
        """What a worker registers."""
        return [self.admit, self.decide, self.open_approval, self.load, self.keep, self.close]

    @activity.defn(name="admit")
    async def admit(self, given: AdmitInput) -> Admission:
        return await self._counted(admit(given, _run(), self._world))

    @activity.defn(name="decide")
    async def decide(self, given: DecideInput) -> DecideOutput:
        return await self._counted(decide(given, self._world))

    @activity.defn(name="open_approval")
    async def open_approval(self, given: OpenApprovalInput) -> OpenedApproval:
        return await self._counted(open_approval(given, _run(), self._world))

    @activity.defn(name="load")
    async def load(self, given: LoadInput) -> Loaded:
        return await self._counted(load(given, _run(), activity.info().workflow_run_id or "", self._world))

    @activity.defn(name="keep")
    async def keep(self, given: KeepInput) -> ArtifactRef:
        return await self._counted(self._keep(given, _run()))

    @activity.defn(name="close")
    async def close(self, given: CloseInput) -> Literal[True] | Ended:
        return await self._counted(close(given, _run(), self._world))

    async def _keep(self, given: KeepInput, run: str) -> ArtifactRef:
        """Under the tenant of the run, where its readers look."""
        [rows] = await once(self._world.pool, [Query("run_pins", named("gate", "run_pins"), {"run": run})])
        if not rows:
            raise NotFound(f"no run {run!r} was admitted")
        return await keep(given, rows[0]["tenant"], self._world)

    async def _counted(self, step: Coroutine[None, None, Out]) -> Out:
        """Log each failure with its count: the shell tries a step for ever, so nobody else would see that it fails."""
        key = (_run(), activity.info().activity_type)
        try:
            found = await step
        except VertebraError as error:
            self._log_failure(key, str(error))
            raise
        except asyncio.CancelledError:
            self._log_failure(key, "it took too long, or its worker stops")
            raise
        except Exception:
            self._log_failure(key, "a fault of the program")
            _log.exception("a step is at fault", run=key[0], step=key[1])
            raise
        self._failed.pop(key, None)
        return found

    def _log_failure(self, key: tuple[str, str], why: str) -> None:
        times = self._failed[key] = self._failed.get(key, 0) + 1
        _log.warning("a step of a run failed", run=key[0], step=key[1], times=times, why=why)


def _run() -> str:
    return activity.info().workflow_id or ""
