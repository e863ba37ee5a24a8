"""Calls that the gate let through and that were cancelled before anything was sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.stores import new_run
from tests.unit.workers.gate.asked import BOOKS, NOTHING, NOW, call, seen
from vertebra.activities.performed import Performed
from vertebra.store.pool import Pool
from vertebra.store.transaction import once
from vertebra.workers.gate import journal
from vertebra.workers.gate.element import Settled

pytestmark = pytest.mark.server


@pytest.mark.parametrize("effect", ["irreversible", "compensable", "keyed"])
async def test_a_call_that_never_left_puts_nothing_in_doubt(gate: Pool, effect: str) -> None:
    """Cancelled between its intent and its effect, it is made by the next attempt, whatever it does to the world."""
    run = await new_run(gate)
    of = replace(call({}, effect=effect), run=run, id=f"call-of-{run}")
    unsent = Settled(1, Performed("again", "released"), BOOKS, {"status": "intended"})

    await once(gate, journal.writes(of, seen(), NOTHING))
    await once(gate, journal.after(of, unsent, NOTHING))

    [rows] = await once(gate, journal.reads(of)[:1])
    attempt = {"n": 1, "state": "released", "class": "Cancelled", "counts": False, "opened_by": None}
    tried = [attempt | {"started_at": NOW, "granted_at": None}]
    assert [of.id] == [row["id"] for row in rows]
    assert journal.judge(of, seen(journal=rows, attempts=tried), NOTHING) is None


async def test_a_call_that_may_have_left_stays_in_doubt(gate: Pool) -> None:
    """An attempt that holds its money may have happened: nothing but a person's word lets another one go."""
    run = await new_run(gate)
    of = replace(call({}), run=run, id=f"call-of-{run}")
    lost = Settled(1, Performed("again", "unknown"), BOOKS, {"status": "intended"})

    await once(gate, journal.writes(of, seen(), NOTHING))

    assert () == journal.after(of, lost, NOTHING)
    [rows] = await once(gate, journal.reads(of)[:1])
    verdict = journal.judge(of, seen(journal=rows), NOTHING)
    assert verdict is not None
    assert ["intended"] == [row["status"] for row in rows]
