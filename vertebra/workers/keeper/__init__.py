"""The background duties of every gate worker. Rows are claimed one by one, so there is no leader to lose."""

from __future__ import annotations

import asyncio

import structlog
from structlog.typing import FilteringBoundLogger
from temporalio.client import Client
from temporalio.service import RPCError

from vertebra.activities.watch import SILENT, Watch
from vertebra.activities.world import World
from vertebra.schemas.errors import StoreError
from vertebra.workers.keeper import administration, expiry, orphans, reminders, resume, unseen, wake
from vertebra.workers.keeper.duty import Duty, Office, Times

__all__ = ["DUTIES", "Keeper", "Times"]

DUTIES: tuple[Duty, ...] = (
    wake.WAKE,
    resume.RESUME,
    reminders.REMINDERS,
    expiry.EXPIRY,
    unseen.UNSEEN,
    orphans.ORPHANS,
    administration.ADMINISTRATION,
)
BACKOFF_S, BACKOFF_MAX_S = 1.0, 30.0

_log: FilteringBoundLogger = structlog.get_logger("vertebra.keeper")


class Keeper:
    """Runs every duty side by side for as long as `run` is awaited."""

    def __init__(
        self,
        world: World,
        client: Client,
        times: Times | None = None,
        duties: tuple[Duty, ...] = DUTIES,
        watch: Watch = SILENT,
    ) -> None:
        self._office = Office(world, client, times or Times())
        self._duties = duties
        self._watch = watch

    async def run(self) -> None:
        """Until cancelled. What fails is logged and tried again: no duty ends the worker, or another duty."""
        tasks = [asyncio.create_task(self._repeat(duty), name=f"keeper {duty.name}") for duty in self._duties]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, duty: Duty) -> None:
        wait_s = BACKOFF_S
        while True:
            taken = await self._try(duty)
            if taken is None:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, BACKOFF_MAX_S)
                continue
            wait_s = BACKOFF_S
            if taken < duty.batch:
                await asyncio.sleep(duty.every(self._office.times))

    async def _try(self, duty: Duty) -> int | None:
        """One pass; None if it failed."""
        try:
            taken = await duty.do(self._office)
            self._watch.duty(duty.name, ok=True)
            return taken
        except (StoreError, RPCError, TimeoutError) as error:
            _log.warning("a duty could not be done", duty=duty.name, error=str(error))
        except Exception:
            # whatever it is, the other duties and the worker go on, and this one is tried again
            _log.exception("a duty failed", duty=duty.name)
        self._watch.duty(duty.name, ok=False)
        return None
