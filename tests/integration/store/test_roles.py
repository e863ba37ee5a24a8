"""What each role may do, asked of the server itself."""

from __future__ import annotations

import psycopg
import pytest

from tests.stores import Migrated, append, entry, new_run
from vertebra.store import tables
from vertebra.store.migrate import ROLES, Role
from vertebra.store.pool import Pool, connect, new_pool

pytestmark = pytest.mark.server

WORKERS: tuple[Role, ...] = ("vertebra_gate", "vertebra_api", "vertebra_keeper", "vertebra_reader")
OWN_ROWS = ("calls", "attempts", "waits")
"""Rows that the gate alone makes and changes."""
FORBIDDEN = [
    *(f"delete from {table}" for table in tables.METADATA.tables if table != "waits"),
    *(f"truncate {table}" for table in tables.METADATA.tables),
    *(
        f"update {table} set tenant = 'other'"
        for table in tables.METADATA.tables
        if table not in ("calls", "attempts", "waits")
    ),
    "update audit set body = ''",
    "insert into audit (stream, seq, body, prev_hash, hash, mac, key_id) values ('x', 1, '', '', '', '', '')",
    "insert into streams (name, hash) values ('x', '')",
    "insert into people (name, enrolled_by) values ('eve', 'eve')",
    "update people set roles = '{admin}'",
    "update runs set audit_seq = 0",
    "update runs set audit_hash = ''",
    "update runs set principal = 'eve', graph_digest = 'x'",
    "update approvals set request = '', digest = ''",
    "update approvals set assign = '{eve}'",
    "update decisions set verb = 'approve'",
    "update decisions set signature = ''",
    "update commands set verb = 'skip'",
    "update contexts set \"grant\" = ''",
    "update contexts set seal = ''",
    "update envelopes set body = ''",
    "update artifacts set bytes = ''",
    "update texts set bytes = ''",
    "update graphs set bytes = ''",
    "update graphs set at = now()",
    "update revocations set target = 'x'",
    "update revocations set lifted_at = now()",
    "alter table audit disable trigger all",
    "drop function vertebra_first_hash(text)",
    "select vertebra_write_entries('t', 's', 0, '', '{}', '{}', '{}', 'k')",
    "create table mine (x int)",
    "set role vertebra_owner",
]


@pytest.mark.parametrize("role", WORKERS)
async def test_no_worker_may_rewrite_what_is_recorded(migrated: Migrated, role: Role) -> None:
    """Every forbidden statement is refused by database right, for every role that a process has."""
    refused = 0
    async with await connect(migrated.dsn(role)) as connection:
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)
            refused += 1

    assert len(FORBIDDEN) == refused


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("vertebra_gate", "insert into decisions (approval, verb) values ('a', 'approve')"),
        ("vertebra_gate", "insert into commands (id, run, verb) values ('a', 'r', 'skip')"),
        ("vertebra_gate", "insert into graphs (name, version) values ('a', '1')"),
        ("vertebra_gate", "insert into revocations (id) values ('a')"),
        ("vertebra_gate", "insert into runs (id, audit_seq) values ('a', 5)"),
        ("vertebra_gate", "insert into runs (id, spent_microusd) values ('a', -5)"),
        ("vertebra_api", "insert into runs (id) values ('a')"),
        ("vertebra_api", "insert into calls (id) values ('a')"),
        ("vertebra_api", "update runs set limit_microusd = 1"),
        ("vertebra_api", "update approvals set state = 'approved'"),
        ("vertebra_api", "select vertebra_append_run('r', 0, '', '{}', '{}', '{}', 'k')"),
        ("vertebra_api", "select vertebra_append_stream('r', 0, '', '{}', '{}', '{}', 'k')"),
        ("vertebra_keeper", "insert into decisions (approval, verb) values ('a', 'approve')"),
        ("vertebra_keeper", "insert into contexts (id) values ('a')"),
        ("vertebra_reader", "insert into outbox (kind, ref) values ('wake', 'x')"),
        ("vertebra_reader", "update outbox set done_at = now()"),
        ("vertebra_reader", "select vertebra_append_run('r', 0, '', '{}', '{}', '{}', 'k')"),
    ],
)
async def test_a_role_has_no_rights_of_another(migrated: Migrated, role: Role, statement: str) -> None:
    """The gate decides nothing, the API runs nothing, the reader writes nothing."""
    async with await connect(migrated.dsn(role)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)


async def test_every_role_reads_and_none_owns(migrated: Migrated) -> None:
    """All tables are the owner's; the others may select from each."""
    async with await migrated.superuser() as superuser:
        owners = await (
            await superuser.execute("select distinct tableowner from pg_tables where schemaname = 'public'")
        ).fetchall()
    assert [("vertebra_owner",)] == owners
    for role in ROLES:
        async with await connect(migrated.dsn(role)) as connection:
            for table in tables.METADATA.tables:
                await connection.execute(f'select * from "{table}" limit 1')


async def test_a_run_begins_with_its_own_head(gate: Pool, migrated: Migrated) -> None:
    """Whoever inserts a run cannot choose where its stream begins."""
    run = await new_run(gate)
    async with await migrated.superuser() as superuser:
        await superuser.execute(
            "insert into runs (id, chain, execution_id, graph, version, graph_digest, correlation_id, principal,"
            " started_by, input_digest, audit_seq, audit_hash)"
            " values (%s, '', '', '', '', '', '', '', '', '', 7, 'chosen')",
            (f"{run}-forged",),
        )
        row = await (
            await superuser.execute(
                "select audit_seq, audit_hash = vertebra_first_hash(id) from runs where id = %s", (f"{run}-forged",)
            )
        ).fetchone()

    assert (0, True) == row


async def test_the_keeper_appends_too(gate: Pool, migrated: Migrated) -> None:
    """An end that nobody saw is written by the keeper."""
    run = await new_run(gate)
    async with new_pool(migrated.dsn("vertebra_keeper"), max_size=1) as keeper:
        await append(keeper, run, [entry(operation="run_end", phase="event")])
