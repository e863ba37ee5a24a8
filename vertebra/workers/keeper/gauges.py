"""Look what waits and what is held, for the worker's page of figures."""

from __future__ import annotations

from vertebra.store.queries import named
from vertebra.store.transaction import Query, once
from vertebra.workers.keeper.duty import Duty, Office
from vertebra.workers.telemetry.figures import Figures


def gauges_duty(figures: Figures) -> Duty:
    """The duty that keeps these gauges true."""

    async def do(office: Office) -> int:
        [[row]] = await once(office.world.pool, [Query("stands", named("keeper", "stands"))])
        figures.stands(row)
        return 0

    return Duty("gauges", do, lambda times: times.gauges_s)
