"""Wakes a run after a row was signed; where Temporal is away, says that nothing is lost."""

from __future__ import annotations

from vertebra.cli.desk import Desk
from vertebra.client.temporal import Address, wake


async def wake_run(desk: Desk, run: str) -> bool:
    """Whether the run was told to look. The row counts either way."""
    woken = await wake(Address(desk.settings.temporal_address, desk.settings.temporal_namespace), run)
    if not woken:
        desk.out.say("the row is written; Temporal was not reached, so the run will see it when it is back")
    return woken
