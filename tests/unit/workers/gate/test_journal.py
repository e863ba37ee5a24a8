"""Deadlines start anew where people were waited for, and what is given up is on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

from tests import make
from tests.unit.workers.gate.asked import BOOKS, NOTHING, NOW, call, journalled, seen
from vertebra.activities.world import World
from vertebra.audit.chain import mac_key
from vertebra.store.transaction import Row
from vertebra.workers.gate import audit, journal
from vertebra.workers.gate.element import Denied

CLOCK = cast("World", SimpleNamespace(now=lambda: datetime(2026, 1, 1, tzinfo=UTC), audit_key=mac_key(b"k" * 32)))
KEYED = call({}, node=make.tool("send", deadline_s=60), effect="keyed")


def attempt(n: int, age_s: int, granted_s: int | None = None, state: str = "released") -> Row:
    granted = None if granted_s is None else NOW - timedelta(seconds=granted_s)
    return {
        "n": n,
        "state": state,
        "class": None,
        "counts": False,
        "opened_by": None,
        "started_at": NOW - timedelta(seconds=age_s),
        "granted_at": granted,
    }


def test_a_call_that_was_tried_too_long_ago_has_passed_its_deadline() -> None:
    """Counted from the first attempt."""
    verdict = journal.judge(KEYED, seen(journal=[journalled(KEYED, "intended")], attempts=[attempt(1, 100)]), NOTHING)

    assert isinstance(verdict, Denied)
    assert "DeadlineExceeded" == verdict.error.type


def test_the_deadline_starts_anew_after_a_hold() -> None:
    """The time in which people were waited for is not the call's; from then on it counts again."""
    row = journalled(KEYED, "intended")

    assert journal.judge(KEYED, seen(journal=[row], attempts=[attempt(1, 9_000, 10)]), NOTHING) is None

    again = [attempt(1, 9_000, 100), attempt(2, 90, 100)]
    verdict = journal.judge(KEYED, seen(journal=[row], attempts=again), NOTHING)
    assert isinstance(verdict, Denied)


def test_attempts_that_never_reported_are_told_of() -> None:
    """By the next intent, or where none may follow: each intent has its outcome in the record."""
    given = seen(journal=[journalled(KEYED, "intended")], attempts=[attempt(1, 9), attempt(2, 5, state="held")])
    given.rows["audit"] = []
    given.rows["budget"] = [[BOOKS]]

    assert (2,) == journal.lost(given)
    [append] = audit.writes(KEYED, given, CLOCK)
    told = [json.loads(body) for body in append.params["bodies"]]
    assert [(2, "outcome", "unknown"), (3, "intent", None)] == [(x["attempt"], x["phase"], x["outcome"]) for x in told]


def test_a_call_in_doubt_gives_up_its_attempt_on_record() -> None:
    """What may not be repeated stops here, and the record says of which attempt."""
    of = call({})
    given = seen(journal=[journalled(of, "intended")], attempts=[attempt(1, 9, state="held")])

    verdict = journal.judge(of, given, NOTHING)

    assert isinstance(verdict, Denied)
    assert (1,) == verdict.lost
