"""Appending to and reading from the audit on a real server."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from tests.stores import AUDIT_KEY, KEYS, Migrated, append, entry, new_run
from vertebra.audit.append import admin_head, admin_head_query, append_query, sealed_query
from vertebra.audit.chain import admin_stream, opened, seal_all
from vertebra.audit.export import export_run, export_tenant, verify_file
from vertebra.audit.read import verify_run, verify_tenant
from vertebra.audit.trace import trace
from vertebra.ledger.books import books_of, head_query
from vertebra.schemas.audit import Entry
from vertebra.schemas.errors import AuditRefused, StoreError
from vertebra.schemas.ids import DEFAULT_TENANT, Tenant
from vertebra.store.pool import Pool, connect
from vertebra.store.transaction import Query, once, pipelined, transaction

pytestmark = pytest.mark.server


async def append_admin(pool: Pool, tenant: Tenant, given: Entry) -> None:
    async with transaction(pool) as changing:
        head = admin_head((await changing.trip([admin_head_query(tenant)]))[0][0], tenant)
        await changing.commit([append_query([given], head, AUDIT_KEY)])


async def test_writers_of_one_run_make_one_chain(gate: Pool, migrated: Migrated) -> None:
    """Sixteen writers at once: every acknowledged entry is there, in one unbroken chain."""
    run = await new_run(gate)

    await asyncio.gather(*(append(gate, run, [entry(f"{n}a"), entry(f"{n}b")]) for n in range(16)))

    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        report = await verify_run(reader, run, KEYS)
    assert (True, 32) == (report.ok, report.entries)


async def test_writers_of_a_tenant_make_one_chain(gate: Pool, migrated: Migrated) -> None:
    """A stream that is no run's opens by itself and takes its entries in order."""
    tenant = Tenant(f"tenant-{secrets.token_hex(4)}")

    await asyncio.gather(*(append_admin(gate, tenant, entry(str(n))) for n in range(16)))

    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        report = await verify_tenant(reader, tenant, KEYS)
    assert (True, 16, [admin_stream(tenant)]) == (report.ok, report.entries, list(report.heads))


@pytest.mark.parametrize("wrong", ["gap", "repeat", "prev", "hash", "lengths", "empty", "unknown run"])
async def test_an_entry_that_does_not_follow_is_refused(gate: Pool, migrated: Migrated, wrong: str) -> None:
    """A gap, a repetition, another past, a wrong hash: the database refuses, and nothing is written."""
    run = await new_run(gate)
    await append(gate, run, [entry("first")])
    head = books_of((await once(gate, [head_query(run)]))[0][0]).head
    good = sealed_query(seal_all([entry("second")], head, AUDIT_KEY))
    changes: dict[str, dict[str, object]] = {
        "gap": {"seq": 2},
        "repeat": {"seq": 0},
        "prev": {"prev_hash": b"\0" * 32},
        "hash": {"hashes": [b"\0" * 32]},
        "lengths": {"macs": []},
        "empty": {"bodies": [], "hashes": [], "macs": []},
        "unknown run": {"stream": "nobody"},
    }

    with pytest.raises(AuditRefused):
        await once(gate, [type(good)(good.name, good.sql, {**good.params, **changes[wrong]})])

    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        assert 1 == (await verify_run(reader, run, KEYS)).entries


async def test_a_moved_head_says_so(gate: Pool) -> None:
    """A writer that lost the race learns that it may read the head again."""
    run = await new_run(gate)

    with pytest.raises(AuditRefused) as refused:
        await once(gate, [append_query([entry()], opened("admin/default"), AUDIT_KEY)])
    assert refused.value.head_moved
    await append(gate, run, [entry()])


async def test_an_admin_stream_is_its_tenants(gate: Pool) -> None:
    """No stream can be opened under another name."""
    query = admin_head_query(DEFAULT_TENANT)

    with pytest.raises(AuditRefused):
        await once(gate, [Query(query.name, query.sql, {"stream": "admin/other", "tenant": "default"})])


async def test_odd_content_is_written_and_verified(gate: Pool, migrated: Migrated) -> None:
    """NUL, lone surrogates and other alphabets: no output is unwritable."""
    run = await new_run(gate)

    await append(gate, run, [entry("nul \0 surrogate \ud800 日本 \U0001f600", error="\0\udfff")])

    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        assert (await verify_run(reader, run, KEYS)).ok


async def test_a_locked_audit_stops_the_transaction(gate: Pool, migrated: Migrated) -> None:
    """While nothing can be appended, whatever wanted its entry is undone."""
    run = await new_run(gate)
    async with await migrated.superuser() as superuser:
        await superuser.execute("begin")
        await superuser.execute("lock table audit in exclusive mode")
        with pytest.raises(StoreError):
            await append(gate, run, [entry()])
        await superuser.execute("rollback")

    await append(gate, run, [entry()])


async def test_an_export_verifies_without_the_database(gate: Pool, migrated: Migrated, tmp_path: Path) -> None:
    """The lines of a run, and of a tenant, are all that a verifier needs."""
    run = await new_run(gate)
    await append(gate, run, [entry("one"), entry("two \n \u2028")])
    one, whole = tmp_path / "run.jsonl", tmp_path / "tenant.jsonl"
    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        one.write_text("".join([line + "\n" async for line in export_run(reader, run)]), encoding="utf-8")
        whole.write_text(
            "".join([line + "\n" async for line in export_tenant(reader, Tenant("default"))]), encoding="utf-8"
        )

    assert (True, 2) == (verify_file(one, KEYS).ok, verify_file(one, KEYS).entries)
    assert run in verify_file(whole, KEYS).heads


async def test_a_trace_follows_the_correlation_id(gate: Pool) -> None:
    """All runs of one correlation id, and what the tenant's own stream says of it, in order of time."""
    correlation = f'odd "{secrets.token_hex(4)}" id'
    for second, text in ((2, "late"), (1, "early")):
        run = await new_run(gate, correlation_id=correlation)
        await append(gate, run, [entry(text, time=f"2026-01-31T09:30:0{second}.000000Z", correlation_id=correlation)])
    between = entry("admin", time="2026-01-31T09:30:01.500000Z", correlation_id=correlation)
    await append_admin(gate, DEFAULT_TENANT, between)

    async with gate.connection() as connection:
        found = await trace(connection, DEFAULT_TENANT, correlation)

    assert ["early", "admin", "late"] == [item.entry.input.text for item in found if item.entry.input]


async def test_verification_sees_one_moment(gate: Pool, migrated: Migrated) -> None:
    """Entries that are appended while it reads do not look like an edit."""
    run = await new_run(gate)

    async def write() -> None:
        for number in range(30):
            await append(gate, run, [entry(str(number))])

    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        writing = asyncio.create_task(write())
        reports = []
        while not writing.done():
            reports.append(await verify_run(reader, run, KEYS))
            await asyncio.sleep(0)
        await writing

    assert all(report.ok for report in reports)


async def test_a_rolled_back_append_leaves_the_head(gate: Pool, migrated: Migrated) -> None:
    """Head and entry are one: neither is there without the other."""
    run = await new_run(gate)
    async with await connect(migrated.dsn("vertebra_gate")) as connection, pipelined(connection) as leaving:
        head = books_of((await leaving.trip([head_query(run)]))[0][0]).head
        await leaving.trip([append_query([entry()], head, AUDIT_KEY)])

    await append(gate, run, [entry()])
    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        assert 1 == (await verify_run(reader, run, KEYS)).entries
