"""Whoever may write to the outbox writes any row: no such row keeps the keeper from those behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import LiteralString

import pytest

from tests.integration.workers.desk import asks, office, outbox, stand_in, stand_ins
from tests.stage import Stage
from vertebra.store.transaction import Query, once
from vertebra.workers.keeper import resume, wake
from vertebra.workers.keeper.duty import BATCH

pytestmark = [pytest.mark.attack, pytest.mark.server]

_FLOOD: LiteralString = """
insert into outbox (kind, run, ref, due_at)
select %(kind)s, %(run)s || n, 'command/none', now() - interval '1 hour' from generate_series(1, %(number)s) as n
"""
UNTAKEN = "x" * 2000
"""Temporal takes no such id."""


@pytest.fixture(autouse=True)
async def workers(stage: Stage) -> AsyncIterator[None]:
    async with stand_ins(stage):
        yield


async def flood(stage: Stage, kind: str, run: str | None, number: int) -> None:
    """Rows that come before everybody else's."""
    given = {"kind": kind, "run": run, "number": number}
    flood = _FLOOD if run is not None else _FLOOD.replace("'command/none'", "'none' || n")
    await once(stage.api, [Query("flood", flood, given)])


@pytest.mark.parametrize("named", ["nobodys-", None], ids=["of no run", "without a name"])
async def test_resumes_of_no_run_keep_no_other_waiting(stage: Stage, named: str | None) -> None:
    """They are taken up, and done with, so that the resume behind them is."""
    run, _ = await stand_in(stage, "wait")
    await flood(stage, "resume", named, 2 * resume.AT_ONCE)
    await asks(stage, run, "unknown")

    taken = [await resume.do(office(stage)) for _ in range(3)]

    assert [resume.AT_ONCE, resume.AT_ONCE, 1] == taken
    assert [True] == [row["done_at"] is not None for row in await outbox(stage, run, "resume")]


@pytest.mark.parametrize("of_run", [False, True], ids=["of no run", "of a run, for nothing"])
async def test_wakes_for_nothing_are_done_with(stage: Stage, of_run: bool) -> None:
    """They are no work for ever and no signals; more of them than a pass may settle keep no other waiting."""
    run, handle = await stand_in(stage, "wait")
    other, spared = await stand_in(stage, "wait")
    await stage.sql("update outbox set done_at = now() where done_at is null")
    await flood(stage, "wake", None if of_run else UNTAKEN, 2 * wake.SETTLED)
    if of_run:
        await stage.sql("update outbox set run = %(run)s where kind = 'wake' and run is null", run=other)
    command = await stage.command(run, "abort", wake=False)
    insert = "insert into outbox (kind, run, ref) values ('wake', %(run)s, %(ref)s)"
    await once(stage.api, [Query("wake", insert, {"run": run, "ref": f"command/{command}"})])

    settled = [await wake.do(office(stage)) for _ in range(3)]

    assert min(settled[:2]) > BATCH
    assert await handle.query("seen") > 0
    left = await stage.sql("select id from outbox where kind = 'wake' and done_at is null and run <> %(run)s", run=run)
    assert len(left) <= BATCH, "what a pass took up before it was settled comes up once more"
    assert 3 >= await spared.query("seen")
