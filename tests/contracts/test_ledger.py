"""The ledger on a real server: no overspend, no phantom spend, everything settled once."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from typing import LiteralString

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stores import Migrated, attempt, books, new_call, new_run
from vertebra.ledger.attempts import (
    AttemptId,
    Settlement,
    check_books_query,
    held_query,
    lose_attempts_query,
    open_attempt_query,
    release_query,
    reserve_query,
    settle_query,
    top_up_query,
    unknown_query,
)
from vertebra.ledger.books import books_of, head_query, telemetry
from vertebra.schemas.ids import DEFAULT_TENANT, CallId, RunId
from vertebra.schemas.money import MicroUSD
from vertebra.store.pool import Pool
from vertebra.store.transaction import Query, Row, once, transaction

pytestmark = pytest.mark.server

COUNTERS: LiteralString = "select scope, figures from counters where run = %(run)s order by scope"


async def end(pool: Pool, query: Query) -> Row:
    return (await once(pool, [query]))[0][0]


async def settle(pool: Pool, attempt_id: AttemptId, microusd: int, tokens: int = 0) -> bool:
    ended: bool = (await end(pool, settle_query(attempt_id, Settlement(MicroUSD(microusd), tokens))))["ended"]
    return ended


async def exact(pool: Pool, run: RunId) -> bool:
    return [[]] == await once(pool, [check_books_query(run)])


async def opened(pool: Pool, run: RunId, microusd: int, tokens: int = 0) -> AttemptId:
    found = await attempt(pool, run, await new_call(pool, run), 1, microusd, tokens)
    assert found is not None
    return found


@pytest.mark.parametrize("repetition", range(5))
async def test_two_hundred_at_once_against_money_for_twenty(gate: Pool, repetition: int) -> None:
    """Exactly as many reservations succeed as fit, however many race for them."""
    run = await new_run(gate, microusd=20 * 5 + 4)
    calls = [await new_call(gate, run) for _ in range(200)]
    room = asyncio.Semaphore(gate.max_size)  # all its connections race; one that waits for a connection may give up

    async def reserve(call: CallId) -> AttemptId | None:
        async with room:
            return await attempt(gate, run, call, 1, 5)

    made = await asyncio.gather(*map(reserve, calls))

    assert 20 == sum(found is not None for found in made)
    assert MicroUSD(4) == (await books(gate, run)).left_microusd
    assert await exact(gate, run)


async def test_tokens_bind_as_money_does(gate: Pool) -> None:
    """A call that fits the money but not the tokens is refused."""
    run = await new_run(gate, microusd=1_000, tokens=100)

    await opened(gate, run, 10, 60)

    assert await attempt(gate, run, await new_call(gate, run), 1, 10, 41) is None
    assert 40 == (await books(gate, run)).left_tokens


async def test_without_limits_everything_fits(gate: Pool) -> None:
    """A run without a budget refuses nothing and still counts."""
    run = await new_run(gate)

    await opened(gate, run, 10**12, 10**9)

    assert (10**12, None) == ((await books(gate, run)).held_microusd, (await books(gate, run)).left_microusd)


async def test_a_free_call_passes_an_overspent_run(gate: Pool) -> None:
    """What costs nothing is not refused for what others cost."""
    run = await new_run(gate, microusd=10)
    await settle(gate, await opened(gate, run, 10), 25)

    assert await attempt(gate, run, await new_call(gate, run), 1, 0) is not None
    assert await attempt(gate, run, await new_call(gate, run), 1, 1) is None
    assert MicroUSD(-15) == (await books(gate, run)).left_microusd


async def test_an_ended_run_reserves_nothing(gate: Pool) -> None:
    """After its end a run makes no calls."""
    run = await new_run(gate)
    await once(
        gate, [Query("end", "update runs set state = 'completed', ended_at = now() where id = %(run)s", {"run": run})]
    )

    assert await attempt(gate, run, await new_call(gate, run), 1, 0) is None


async def test_a_settlement_turns_what_was_held_into_what_was_spent(gate: Pool) -> None:
    """The reservation goes, the cost stays, whatever it is."""
    run = await new_run(gate, microusd=100, tokens=100)
    attempt_id = await opened(gate, run, 60, 30)

    assert await settle(gate, attempt_id, 41, 17)

    after = await books(gate, run)
    assert (41, 17, 0, 0) == (after.spent_microusd, after.spent_tokens, after.held_microusd, after.held_tokens)


async def test_a_double_settle_is_void(gate: Pool) -> None:
    """Twenty settlements of one attempt at once: one counts, the others say so."""
    run = await new_run(gate, microusd=100)
    attempt_id = await opened(gate, run, 60)

    ended = await asyncio.gather(*(settle(gate, attempt_id, 7) for _ in range(20)))

    assert 1 == sum(ended)
    assert (7, 0) == ((await books(gate, run)).spent_microusd, (await books(gate, run)).held_microusd)
    assert await exact(gate, run)


async def test_a_released_attempt_costs_nothing(gate: Pool) -> None:
    """A call that was not sent gives back what it held, once."""
    run = await new_run(gate, microusd=100)
    attempt_id = await opened(gate, run, 60)

    first = await end(gate, release_query(attempt_id))
    second = await end(gate, release_query(attempt_id))

    assert (True, False) == (first["ended"], second["ended"])
    assert MicroUSD(100) == (await books(gate, run)).left_microusd
    assert not await settle(gate, attempt_id, 5)


async def test_an_unknown_outcome_stays_held(gate: Pool) -> None:
    """Nobody knows what it cost, so nobody else may spend it; a late outcome settles it."""
    run = await new_run(gate, microusd=100)
    attempt_id = await opened(gate, run, 60)
    await end(gate, unknown_query(attempt_id))

    assert await attempt(gate, run, attempt_id.call, 2, 41) is None
    (listed,) = (await once(gate, [held_query(run)]))[0]
    assert ("unknown", attempt_id.call, 60) == (listed["state"], listed["call"], listed["reserved_microusd"])
    assert await settle(gate, attempt_id, 9)
    assert (9, 0) == ((await books(gate, run)).spent_microusd, (await books(gate, run)).held_microusd)


async def test_a_second_attempt_loses_the_first(gate: Pool) -> None:
    """Both reservations are held; the first one's late outcome and the second's are both booked, once each."""
    run = await new_run(gate, microusd=200)
    first = await opened(gate, run, 60)
    second = await attempt(gate, run, first.call, 2, 60)
    assert second is not None
    assert [[{"n": 1}]] == await once(gate, [lose_attempts_query(second)])

    assert MicroUSD(80) == (await books(gate, run)).left_microusd
    assert [True, True] == [await settle(gate, second, 10), await settle(gate, first, 20)]
    assert (30, 0) == ((await books(gate, run)).spent_microusd, (await books(gate, run)).held_microusd)
    assert await exact(gate, run)


async def test_an_attempt_of_another_run_moves_nothing(gate: Pool) -> None:
    """A settlement names run and attempt; a pair that does not belong together changes neither."""
    run, other = await new_run(gate), await new_run(gate)
    attempt_id = await opened(gate, run, 60)

    row = await end(gate, settle_query(AttemptId(other, attempt_id.call, 1), Settlement(MicroUSD(5), 5)))

    assert not row["ended"]
    assert (60, 0) == ((await books(gate, run)).held_microusd, (await books(gate, other)).spent_microusd)


async def test_a_reservation_without_its_commit_is_none(gate: Pool) -> None:
    """A gate that dies between reserving and committing leaves nothing held."""
    run = await new_run(gate, microusd=100)
    async with transaction(gate) as broken:
        held = books_of((await broken.trip([reserve_query(run, MicroUSD(60), 0)]))[0][0])

    assert (60, 0) == (held.held_microusd, (await books(gate, run)).held_microusd)


async def top_up_command(migrated: Migrated, run: RunId) -> str:
    command = secrets.token_hex(8)
    async with await migrated.superuser() as superuser:
        await superuser.execute(
            "insert into commands (id, run, epoch, verb, person, key, nonce, statement, signature)"
            " values (%s, %s, 0, 'top-up', 'ada', 'k', %s, '', '')",
            (command, run, command),
        )
    return command


async def test_a_top_up_counts_once(gate: Pool, migrated: Migrated) -> None:
    """Ten loads apply one command once; no limit stays no limit."""
    run = await new_run(gate, microusd=100)
    command = await top_up_command(migrated, run)

    rows = await asyncio.gather(*(once(gate, [top_up_query(run, command, MicroUSD(50), 500)]) for _ in range(10)))

    assert 1 == sum(row[0][0]["applied"] for row in rows)
    after = await books(gate, run)
    assert (MicroUSD(150), None) == (after.limit_microusd, after.limit_tokens)


async def test_a_top_up_of_another_run_is_refused(gate: Pool, migrated: Migrated) -> None:
    """A command raises the limits of the run that it names."""
    run, other = await new_run(gate, microusd=100), await new_run(gate, microusd=100)
    command = await top_up_command(migrated, other)

    row = (await once(gate, [top_up_query(run, command, MicroUSD(50), 0)]))[0][0]

    assert (False, 100) == (row["applied"], row["limit_microusd"])


async def test_figures_are_counted_by_scope(gate: Pool) -> None:
    """Sums, maxima, last values and counts stand under run, agent and node; a void settlement counts nothing."""
    run = await new_run(gate)
    for tokens, scopes in ((10, ("agent/writer", "node/draft")), (4, ("agent/writer",))):
        attempt_id = await opened(gate, run, 60)
        figures = {"tokens": tokens, "microusd": 1_500_000, "latency_ms": 20}
        settlement = Settlement(MicroUSD(1_500_000), tokens, scopes=scopes, figures=figures)
        for _ in range(2):
            await end(gate, settle_query(attempt_id, settlement))

    after = await books(gate, run)
    whole = telemetry(after)
    assert (14, 10, 4, 2) == tuple(whole[f"{name}_tokens"] for name in ("sum", "max", "last", "count"))
    assert (3.0, 40, 0) == (whole["sum_cost_usd"], whole["sum_latency_ms"], whole["sum_visits"])
    [found] = await once(gate, [Query("counters", COUNTERS, {"run": run})])
    assert [("agent/writer", 14, 10, 4, 2), ("node/draft", 10, 10, 10, 1)] == [
        (row["scope"], *(row["figures"]["tokens"][name] for name in ("sum", "max", "last", "count"))) for row in found
    ]


async def test_a_runs_row_does_not_grow_with_its_nodes(gate: Pool) -> None:
    """Every call reads and writes it: a long graph must not pay for what each of its nodes has used."""
    run = await new_run(gate)
    sizes = []
    for number in range(20):
        figures = {"tokens": 10, "microusd": 10, "latency_ms": 10, "visits": 1}
        attempt_id = await opened(gate, run, 1)
        settlement = Settlement(MicroUSD(1), 10, scopes=(f"node/n{number}",), figures=figures)
        row = await end(gate, settle_query(attempt_id, settlement))
        sizes.append(len(json.dumps(row["counters"])))

    assert sizes[0] + 10 > sizes[-1]


async def test_the_head_is_the_same_from_every_statement(gate: Pool) -> None:
    """Reserve, settle and head give one audit head for one row."""
    run = await new_run(gate)
    attempt_id = await opened(gate, run, 5)

    rows = [await end(gate, head_query(run)), await end(gate, settle_query(attempt_id, Settlement(MicroUSD(1), 1)))]

    assert 1 == len({(books_of(row).head.seq, books_of(row).head.hash) for row in rows})


async def test_attempts_that_cross_do_not_deadlock(gate: Pool) -> None:
    """Settling a first attempt while a second one marks it lost: both go through, 40 times."""

    async def second(first: AttemptId) -> None:
        async with transaction(gate) as both:
            await both.trip([reserve_query(first.run, MicroUSD(5), 0)])
            again = AttemptId(first.run, first.call, 2)
            row = open_attempt_query(again, MicroUSD(5), 0, tenant=DEFAULT_TENANT, execution_id="e", worker="w")
            await both.commit([lose_attempts_query(again), row])

    run = await new_run(gate)
    for _ in range(40):
        first = await opened(gate, run, 5)
        await asyncio.gather(settle(gate, first, 3), second(first))

    assert await exact(gate, run)


STEP = st.tuples(st.sampled_from(["reserve", "settle", "release", "unknown"]), st.integers(0, 40), st.integers(0, 5))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 100), st.lists(STEP, max_size=12))
async def test_any_order_of_steps_keeps_the_books(gate: Pool, limit: int, steps: list[tuple[str, int, int]]) -> None:
    """After any steps the books equal the sum of the attempts, and reservations never pass the limit."""
    run = await new_run(gate, microusd=limit)
    made: list[AttemptId] = []
    for what, amount, which in steps:
        before = await books(gate, run)
        if what == "reserve":
            found = await attempt(gate, run, await new_call(gate, run), 1, amount)
            left = before.left_microusd
            assert left is not None
            assert (found is not None) == (amount == 0 or amount <= left)
            made.extend([found] if found else [])
        elif made:
            chosen = made[which % len(made)]
            ending = {
                "settle": settle_query(chosen, Settlement(MicroUSD(amount), 0)),
                "release": release_query(chosen),
                "unknown": unknown_query(chosen),
            }[what]
            await end(gate, ending)

    assert await exact(gate, run)


async def test_a_storm_of_workers_keeps_the_books(gate: Pool) -> None:
    """Sixteen workers reserve, settle, lose and release at random: nothing overspent, nothing doubled, nothing lost."""
    run = await new_run(gate, microusd=400)
    dice = random.Random(1)

    async def work(seed: int) -> None:
        own = random.Random(seed)
        for _ in range(8):
            call = await new_call(gate, run)
            found = await attempt(gate, run, call, 1, own.randint(1, 30))
            if found is None:
                continue
            if own.random() < 0.3:
                await end(gate, unknown_query(found))
            await (settle(gate, found, own.randint(0, 30)) if own.random() < 0.8 else end(gate, release_query(found)))

    await asyncio.gather(*(work(dice.getrandbits(32)) for _ in range(16)))

    assert await exact(gate, run)
    assert 0 == (await books(gate, run)).held_microusd
