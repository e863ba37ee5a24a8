"""How tests wait for a run: for its end, or for a row that says that it waits."""

from __future__ import annotations

import asyncio

from temporalio.client import WorkflowHandle

from tests.stage import Stage
from vertebra.store.transaction import Row

Handle = WorkflowHandle[object, object]


async def ended(handle: Handle, stage: Stage) -> tuple[dict[str, object], Row]:
    """The output and the row of a run, once it has ended."""
    result = await asyncio.wait_for(handle.result(), 90)
    assert isinstance(result, dict)
    return result, await row_of(handle.id, stage)


async def row_of(run: str, stage: Stage) -> Row:
    [row] = await stage.sql("select * from runs where id = %(id)s", id=run)
    return row


async def waiting(run: str, stage: Stage, kind: str) -> Row:
    """The open wait of this kind, once there is one."""
    for _ in range(1200):
        rows = await stage.sql("select * from waits where run = %(run)s and kind = %(kind)s", run=run, kind=kind)
        if rows:
            return rows[0]
        await asyncio.sleep(0.05)
    raise AssertionError(f"{run} never waited for {kind}")


async def blocked(run: str, stage: Stage, round: int) -> Row:
    """The wait of the visit's block of this round."""
    async with asyncio.timeout(60):
        while True:
            row = await waiting(run, stage, "blocked")
            if row["round"] == round:
                return row
            await asyncio.sleep(0.05)


async def looked(run: str, stage: Stage) -> None:
    """Have the run look once more, and give it a moment for what it might do then.

    It has read what was signed before when it has read a command that is signed only now, and means nothing to it.
    """
    command = await stage.command(run, "skip", "nobody", 1)
    read = "select 1 from commands where id = %(id)s and consumed_at is not null"
    async with asyncio.timeout(60):
        while not await stage.sql(read, id=command):  # noqa: ASYNC110  # rows ring no bell
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.7)


async def tasks(run: str, stage: Stage) -> list[str]:
    """The nodes that ended with an envelope, in order."""
    rows = await stage.sql(
        "select node, visit from envelopes where run = %(run)s and kind = 'task' order by id", run=run
    )
    return [f"{row['node']}#{row['visit']}" for row in rows]
