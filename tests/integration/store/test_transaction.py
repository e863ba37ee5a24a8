"""Round trips, commits and rollbacks on a real server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import LiteralString

import pytest
from psycopg.types.json import Jsonb

from tests.stores import Migrated, new_run
from vertebra.schemas.errors import Conflict, StoreError
from vertebra.store.pool import LOCK_TIMEOUT_MS, Pool, connect, new_pool
from vertebra.store.transaction import Query, once, pipelined, transaction, trip
from vertebra.store.wire import MAX_PREPARED

pytestmark = pytest.mark.server

INSERT = "insert into outbox (kind, ref) values ('wake', %(ref)s)"
UNLIMITED = Query("unlimited", "set statement_timeout = 0")
SLEEP = Query("sleep", "select pg_sleep(60)::text as x")
"""Longer than a stalled machine takes to cancel it."""
COUNT = "select count(*) as n from outbox where ref = %(ref)s"


def put(ref: str) -> Query:
    return Query("put", INSERT, {"ref": ref})


async def count(pool: Pool, ref: str) -> int:
    found: int = (await once(pool, [Query("count", COUNT, {"ref": ref})]))[0][0]["n"]
    return found


async def test_rows_come_back_in_order(gate: Pool) -> None:
    """One list of rows for each query, in the order sent, empty where a statement has none."""
    rows = await once(
        gate, [Query("a", "select 1 as x"), put("order"), Query("c", "select 2 as y union select 3 order by y")]
    )

    assert [[{"x": 1}], [], [{"y": 2}, {"y": 3}]] == rows


async def test_two_trips_are_one_transaction(gate: Pool) -> None:
    """Nothing is visible to others before the commit, all of it after."""
    async with transaction(gate) as opened:
        await opened.trip([put("both")])
        before = await count(gate, "both")
        await opened.commit([Query("b", "update outbox set tries = 1 where ref = %(ref)s", {"ref": "both"})])

    assert (0, 1) == (before, await count(gate, "both"))


async def test_leaving_without_commit_undoes_everything(gate: Pool) -> None:
    """Neither a plain exit nor an error leaves a row."""
    async with transaction(gate) as opened:
        await opened.trip([put("left")])
    with pytest.raises(RuntimeError):
        async with transaction(gate) as opened:
            await opened.trip([put("left")])
            raise RuntimeError

    assert 0 == await count(gate, "left")


async def test_an_error_in_the_last_trip_commits_nothing(gate: Pool) -> None:
    """The COMMIT that travelled behind the failing statement is not carried out, and the connection goes on."""
    with pytest.raises(StoreError, match=r"bad.*division by zero"):
        async with transaction(gate) as opened:
            await opened.trip([put("failed")])
            await opened.commit([Query("bad", "select 1 / 0 as x"), put("failed")])

    assert 0 == await count(gate, "failed")


async def test_a_transaction_ends_once(gate: Pool) -> None:
    """After the commit nothing more is sent."""
    async with transaction(gate) as opened:
        await opened.commit()
        with pytest.raises(StoreError, match="has ended"):
            await opened.trip([put("ended")])


async def test_a_second_row_is_a_conflict(gate: Pool) -> None:
    """A unique constraint speaks by its name."""
    await new_run(gate)
    with pytest.raises(Conflict) as refused:
        await once(gate, [Query("run", "insert into outbox (kind, run, ref) values ('wake', 'r', 'x')")] * 2)

    assert "outbox_kind_run_ref_uq" == refused.value.constraint


@pytest.mark.parametrize("text", ["nul \0 nul", "surrogate \ud800"])
async def test_what_no_database_takes_is_a_store_error(gate: Pool, text: str) -> None:
    """NUL and lone surrogates are refused before anything happens, and the connection goes on."""
    with pytest.raises(StoreError):
        await once(gate, [put("before"), put(text)])

    assert 0 == await count(gate, "before")


async def test_a_held_lock_ends_the_wait(gate: Pool, migrated: Migrated) -> None:
    """Whoever holds the audit table stops the writers within the lock timeout; afterwards they go on."""
    run = await new_run(gate)
    lock = Query("lock", "select 1 as x from runs where id = %(run)s for update", {"run": run})
    async with await connect(migrated.dsn("vertebra_gate")) as other, pipelined(other) as holder:
        await holder.trip([lock])
        with pytest.raises(StoreError, match="lock timeout"):
            await asyncio.wait_for(once(gate, [lock]), LOCK_TIMEOUT_MS / 1000 + 30)
        await holder.rollback()

    await once(gate, [lock])


async def test_a_killed_connection_is_replaced(migrated: Migrated) -> None:
    """A backend that dies costs one error; the next transaction has a new one."""
    async with new_pool(migrated.dsn("vertebra_gate"), max_size=1) as pool:
        pid = (await once(pool, [Query("pid", "select pg_backend_pid() as pid")]))[0][0]["pid"]
        async with await migrated.superuser() as superuser:
            await superuser.execute("select pg_terminate_backend(%s)", (pid,))
        with pytest.raises(StoreError):
            await once(pool, [put("killed")])

        assert 0 == await count(pool, "killed")


async def test_an_unreachable_server_is_a_store_error() -> None:
    """No address, no hang: an error that names what failed."""
    pool = new_pool("postgresql://nobody@127.0.0.1:1/none", max_size=1)
    pool.timeout = 0.5
    await pool.open(wait=False)
    try:
        with pytest.raises(StoreError):
            await once(pool, [put("nowhere")])
    finally:
        await pool.close()


async def test_a_cancelled_trip_leaves_a_clean_connection(migrated: Migrated) -> None:
    """Cancelling a call in the middle of a trip rolls back and gives the connection back."""
    async with new_pool(migrated.dsn("vertebra_gate"), max_size=1) as pool:

        async def slow() -> None:
            async with transaction(pool) as opened:
                await opened.trip([UNLIMITED, put("cancelled")])
                await opened.commit([SLEEP])

        task = asyncio.create_task(slow())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert 0 == await count(pool, "cancelled")


async def test_a_trip_outside_a_transaction_is_one_of_its_own(gate: Pool) -> None:
    """All of a trip happens or nothing."""
    async with gate.connection() as connection:
        with pytest.raises(StoreError):
            await trip(connection, [put("own"), Query("bad", "select 1 / 0 as x")])

    assert 0 == await count(gate, "own")


async def test_a_cancelled_trip_leaves_the_pipeline(migrated: Migrated) -> None:
    """The same connection works on after a cancelled trip, new statements included."""
    async with await connect(migrated.dsn("vertebra_gate")) as connection:
        task = asyncio.create_task(trip(connection, [UNLIMITED, SLEEP]))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [[{"x": 2}]] == await trip(connection, [Query("again", "select 2 as x")])


async def test_values_go_and_come_as_they_are(gate: Pool) -> None:
    """Bytes, texts, numbers, times, lists, JSON and nothing, through parameters and rows."""
    now = datetime.now(UTC)
    given: dict[str, object] = {
        "bytes": bytes(range(256)),
        "text": "100 % 'quoted' \\ 日本",
        "big": 2**53,
        "small": -1,
        "flag": True,
        "none": None,
        "time": now,
        "list": ["a", None, "c"],
        "hashes": [b"\0", b"\xff"],
        "json": {"a": [1, 2.5, None]},
    }
    sql = (
        "select %(bytes)s::bytea as bytes, %(text)s::text as text, %(big)s::bigint as big, %(small)s::int as small,"
        " %(flag)s::bool as flag, %(none)s::text as none, %(time)s::timestamptz as time, %(list)s::text[] as list,"
        " %(hashes)s::bytea[] as hashes, %(json)s::jsonb as json where 5 %% 3 = 2"
    )

    row = (await once(gate, [Query("values", sql, {**given, "json": Jsonb(given["json"])})]))[0][0]

    assert given == row


async def test_one_statement_serves_every_type_of_parameter(gate: Pool) -> None:
    """The same text with other types of values is another prepared statement, not an error."""
    for value in (1, 2**20, 2**40, "text", None, True, 1):
        query = Query("echo", "select %(value)s::text as x", {"value": value})

        rows = await once(gate, [query, query])

        assert rows[0] == rows[1]


async def test_a_trip_of_megabytes_does_not_hang(gate: Pool) -> None:
    """Sending and receiving more than any socket buffer holds, both ways at once."""
    big = "x" * 1_000_000
    query = Query("big", "select %(value)s::text as x", {"value": big})

    rows = await asyncio.wait_for(once(gate, [query] * 20), 60)

    assert 20 * len(big) == sum(len(row[0]["x"]) for row in rows)


async def test_more_statements_than_are_prepared_still_run(migrated: Migrated) -> None:
    """Past the limit of prepared statements the rest is sent unprepared."""
    async with await connect(migrated.dsn("vertebra_gate")) as connection:
        texts: list[LiteralString] = [f"select {number} as x" for number in range(MAX_PREPARED + 20)]
        rows = await trip(connection, [Query("many", text) for text in texts])
        again = await trip(connection, [Query("many", text) for text in texts])

    assert list(range(MAX_PREPARED + 20)) == [row[0]["x"] for row in rows]
    assert rows == again


async def test_a_statement_that_fails_to_prepare_can_be_corrected(gate: Pool) -> None:
    """An error in a new statement leaves nothing behind that the next one stumbles over."""
    async with gate.connection() as connection:
        for _ in range(3):
            with pytest.raises(StoreError, match="no_such_column"):
                await trip(connection, [Query("good", "select 41 as x"), Query("bad", "select no_such_column")])

        assert [[{"x": 41}]] == await trip(connection, [Query("good", "select 41 as x")])


async def test_many_tasks_share_one_connection(migrated: Migrated) -> None:
    """Trips on one connection wait for one another; each gets its own rows."""
    async with await connect(migrated.dsn("vertebra_gate")) as connection:
        queries = [Query("n", "select %(n)s::int as n", {"n": n}) for n in range(50)]
        rows = await asyncio.gather(*(trip(connection, [query]) for query in queries))

    assert list(range(50)) == [row[0][0]["n"] for row in rows]


async def test_deallocated_statements_cost_one_error(gate: Pool) -> None:
    """A connection whose statements are gone prepares them again, under names that were never used."""
    query = Query("echo", "select 7 as x")
    async with gate.connection() as connection:
        await trip(connection, [query])
        await connection.execute("deallocate all")
        with pytest.raises(StoreError):
            await trip(connection, [query])

        assert [[{"x": 7}]] == await trip(connection, [query])


async def test_round_trips_are_told_by_transaction(migrated: Migrated) -> None:
    """By the name that was given, else that of the first query; a trip that fails took its time too."""
    told: list[tuple[str, float]] = []
    async with new_pool(migrated.dsn("vertebra_gate"), max_size=1, told=lambda *trip: told.append(trip)) as pool:
        async with transaction(pool, "named") as opened:
            await opened.trip([Query("a", "select 1")])
            await opened.commit([Query("b", "select 1")])
        await once(pool, [Query("first", "select 1"), Query("second", "select 1")])
        with pytest.raises(StoreError):
            await once(pool, [Query("wrong", "select 1 / 0")])

    assert ["named", "named", "first", "wrong"] == [name for name, _ in told]
    assert all(seconds > 0 for _, seconds in told)
