"""Wakes a run after a row was signed; where Temporal is away, says that nothing is lost."""

from __future__ import annotations

from vertebra.cli.desk import Desk
from vertebra.client.temporal import wake
from vertebra.schemas.errors import SettingsError
from vertebra.workers.frontend import address_of


async def wake_run(desk: Desk, run: str) -> bool:
    """Whether the run was told to look. The row counts either way."""
    try:
        woken = await wake(address_of(desk.settings), run)
    except SettingsError as error:
        desk.out.say(f"the row is written, and the run will see it; it could not be woken: {error}")
        return False
    if not woken:
        desk.out.say("the row is written; Temporal was not reached, so the run will see it when it is back")
    return woken
