"""How the calls of one run share the database: in turn, together, and in one trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.stores import AUDIT_KEY, append, entry, new_run
from vertebra.audit.append import append_query
from vertebra.ledger.books import books_of, head_query
from vertebra.schemas.audit import Head
from vertebra.schemas.errors import StoreError
from vertebra.schemas.ids import RunId
from vertebra.store.pool import Pool
from vertebra.store.transaction import Query, Row, once
from vertebra.workers.gate.turns import Turns

pytestmark = pytest.mark.server


@dataclass
class Noting:
    """A part that appends one entry, after a look at the run's row."""

    run: RunId
    activity_id: str
    refuses: bool = False
    breaks: bool = False
    guesses: bool = False
    judged: int = 0
    done: bool = False
    guessed: bool = False
    reads: Sequence[Query] = field(init=False)

    def __post_init__(self) -> None:
        self.reads = (head_query(self.run),)

    async def judge(self, rows: list[list[Row]], head: Head | None) -> Sequence[Query] | None:
        self.judged += 1
        self.guessed = False
        if self.refuses:
            return None
        if self.breaks:
            raise StoreError("broken")
        return [self._note(head or books_of(rows[0][0]).head)]

    def guess(self, head: Head) -> Sequence[Query] | None:
        if not self.guesses:
            return None
        self.guessed = True
        return [*self.reads, self._note(head)]

    def written(self, rows: list[list[Row]]) -> None:
        assert self.run == rows[0][0]["id"]
        self.done = True

    def _note(self, head: Head) -> Query:
        return append_query([entry(self.activity_id)], head, AUDIT_KEY)


async def entries(pool: Pool, run: RunId) -> int:
    query = Query("count", "select count(*) as n from audit where stream = %(run)s", {"run": run})
    [[row]] = await once(pool, [query])
    return int(row["n"])


async def transactions(pool: Pool, run: RunId) -> int:
    """How many transactions wrote the run's entries."""
    query = Query("count", "select count(distinct xmin::text) as n from audit where stream = %(run)s", {"run": run})
    [[row]] = await once(pool, [query])
    return int(row["n"])


async def test_calls_that_come_together_share_transactions(gate: Pool) -> None:
    """Twenty calls at once are all on record, in far fewer transactions than calls."""
    run, turns = await new_run(gate), Turns(gate)
    parts = [Noting(run, f"node{index}#1") for index in range(20)]

    await asyncio.gather(*map(turns.take, parts))

    assert all(part.done for part in parts)
    assert 20 == await entries(gate, run)
    assert 3 >= await transactions(gate, run)


async def test_one_that_is_refused_or_broken_spoils_nothing_for_the_others(gate: Pool) -> None:
    """The others are written all the same, and only the broken one raises."""
    run, turns = await new_run(gate), Turns(gate)
    parts = [Noting(run, f"node{index}#1") for index in range(6)]
    parts[2].refuses = True
    parts[4].breaks = True

    found = await asyncio.gather(*map(turns.take, parts), return_exceptions=True)

    assert [4] == [index for index, one in enumerate(found) if isinstance(one, StoreError)]
    assert [2, 4] == [index for index, part in enumerate(parts) if not part.done]
    assert 4 == await entries(gate, run)


async def test_two_attempts_of_one_call_are_never_together(gate: Pool) -> None:
    """The second reads what the first has committed: they are two transactions."""
    run, turns = await new_run(gate), Turns(gate)
    first, second = Noting(run, "node#1"), Noting(run, "node#1")

    await asyncio.gather(turns.take(Noting(run, "other#1")), turns.take(first), turns.take(second))

    assert first.done
    assert second.done
    assert 3 == await entries(gate, run)
    assert 2 <= await transactions(gate, run)


async def test_a_call_alone_guesses_the_head_that_this_worker_left(gate: Pool) -> None:
    """Nothing is read first where nobody else has written to the run's audit."""
    run, turns = await new_run(gate), Turns(gate)
    await turns.take(Noting(run, "node#1"))
    part = Noting(run, "node#1", guesses=True)

    await turns.take(part)

    assert part.done
    assert (True, 0) == (part.guessed, part.judged)
    assert 2 == await entries(gate, run)


async def test_a_wrong_guess_changes_nothing_and_looks_again(gate: Pool) -> None:
    """Where another worker has written meanwhile, the guess is refused by the database and the part is judged."""
    run, turns = await new_run(gate), Turns(gate)
    await turns.take(Noting(run, "node#1"))
    await append(gate, run, [entry("another worker")])
    part = Noting(run, "node#1", guesses=True)

    await turns.take(part)

    assert part.done
    assert (False, 1) == (part.guessed, part.judged)
    assert 3 == await entries(gate, run)


async def test_cancelled_before_its_turn_it_never_happens(gate: Pool) -> None:
    """A part that waits is withdrawn by its cancellation; one whose turn it is ends first."""
    run, turns = await new_run(gate), Turns(gate)
    now, later = Noting(run, "node#1"), Noting(run, "node#1")
    tasks = [asyncio.create_task(turns.take(part)) for part in (now, later)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    for task in tasks:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(one, asyncio.CancelledError) for one in found)
    assert (True, False) == (now.done, later.done)
    assert 1 == await entries(gate, run)
