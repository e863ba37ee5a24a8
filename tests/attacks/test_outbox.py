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


async def test_wakes_of_no_run_are_done_with(stage: Stage) -> None:
    """They are no work for ever, and an id that Temporal refuses fails no pass."""
    run, handle = await stand_in(stage, "wait")
    await flood(stage, "wake", UNTAKEN, BATCH)
    insert = "insert into outbox (kind, run, ref) values ('wake', %(run)s, 'command/none')"
    await once(stage.api, [Query("wake", insert, {"run": run})])

    await wake.do(office(stage))

    assert 1 == await handle.query("seen")
    left = await stage.sql("select id from outbox where kind = 'wake' and done_at is null and run <> %(run)s", run=run)
    assert [] == left
