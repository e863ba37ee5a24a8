"""Migrations on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine

from tests.stores import PASSWORDS, Migrated, append, entry, new_run
from vertebra.audit import Audit
from vertebra.schemas.errors import SettingsError, StoreError
from vertebra.store import schema, tables
from vertebra.store.migrate import OWNER, ROLES, migrate
from vertebra.store.pool import Connection, connect, new_pool

pytestmark = pytest.mark.server


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    async with await connect(database) as opened:
        yield opened


async def revisions(connection: Connection) -> list[str]:
    return [row[0] for row in await (await connection.execute("select version_num from alembic_version")).fetchall()]


async def test_four_migrations_at_once_migrate_once(database: str, connection: Connection) -> None:
    """All four return, and there is one revision."""
    await asyncio.gather(*(asyncio.to_thread(migrate, database, PASSWORDS) for _ in range(4)))

    assert [schema.REVISION] == await revisions(connection)
    await schema.check_schema(connection)


async def test_the_frozen_revision_is_the_metadata(database: str) -> None:
    """What the migrations make has the columns, indexes and constraints that the code names."""
    await asyncio.to_thread(migrate, database)

    def differences() -> list[object]:
        engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as plain:
            found = compare_metadata(MigrationContext.configure(plain), tables.METADATA)
        engine.dispose()
        return [item for item in found if "alembic_version" not in str(item)]

    assert [] == await asyncio.to_thread(differences)


async def test_a_filled_database_of_the_first_schema_is_brought_on(database: str, connection: Connection) -> None:
    """Entries that were written before can be asked for, runs that were started before are told to collectors, and what
    their agents have used has moved to rows of its own."""
    await asyncio.to_thread(migrate, database, PASSWORDS, "0001")
    async with new_pool(Migrated(database).dsn("vertebra_gate"), max_size=1) as pool:
        run = await new_run(pool)
        await append(pool, run, [entry("old \0", run=run)])
    figures = {"run": {"tokens": {"sum": 3}}, "agent/writer": {"tokens": {"sum": 2}}}
    await connection.execute("update runs set counters = %s", (Jsonb(figures),))

    await asyncio.to_thread(migrate, database, PASSWORDS)

    page = await Audit(connection).query(run=run)
    exports = await (await connection.execute("select run, seq from exports")).fetchall()
    assert [("draft", 1)] == [(one.entry.node, one.seq) for one in page.entries]
    assert [(run, 0)] == exports
    kept = await (await connection.execute("select counters from runs")).fetchall()
    moved = await (await connection.execute("select run, scope, figures from counters")).fetchall()
    assert [({"run": figures["run"]},)] == kept
    assert [(run, "agent/writer", figures["agent/writer"])] == moved


async def test_an_older_release_refuses_a_newer_schema(database: str, connection: Connection) -> None:
    """The refusal names both schemas and the remedy."""
    await asyncio.to_thread(migrate, database)
    await connection.execute("update alembic_version set version_num = '0999'")

    with pytest.raises(SettingsError, match=r"newer schema 0999.*upgrade vertebra"):
        await schema.check_schema(connection)


async def test_an_unmigrated_database_is_refused(connection: Connection) -> None:
    """Without a schema, the remedy is to migrate."""
    with pytest.raises(SettingsError, match="vertebra migrate"):
        await schema.check_schema(connection)


async def test_a_failed_migration_leaves_nothing(database: str, connection: Connection) -> None:
    """A table in the way stops all of it; once it is gone, all of it happens."""
    await connection.execute("create table audit (x int)")
    with pytest.raises(StoreError, match="audit"):
        await asyncio.to_thread(migrate, database)
    tables_left = await (
        await connection.execute("select count(*) from pg_tables where schemaname = 'public'")
    ).fetchone()
    await connection.execute("drop table audit")

    await asyncio.to_thread(migrate, database)

    assert (1,) == tables_left
    await schema.check_schema(connection)


async def test_the_owner_migrates_where_the_roles_exist(
    migrated: Migrated, database: str, connection: Connection
) -> None:
    """Production makes the roles itself; then no superuser is needed."""
    await connection.execute("grant create, usage on schema public to vertebra_owner")
    as_owner = Migrated(database).dsn(OWNER)

    await asyncio.to_thread(migrate, as_owner)

    await schema.check_schema(connection)


@pytest.mark.usefixtures("migrated")
async def test_a_login_without_rights_is_told_what_to_do(database: str) -> None:
    """The gate's role cannot migrate."""
    with pytest.raises(StoreError, match="could not be migrated"):
        await asyncio.to_thread(migrate, Migrated(database).dsn("vertebra_gate"))


async def test_passwords_are_stored_hashed(migrated: Migrated) -> None:
    """The server never sees a password in clear, and every role may log in with its own."""
    async with await migrated.superuser() as superuser:
        found = await (
            await superuser.execute(
                "select rolname, rolpassword from pg_authid where rolname = any(%s)", (list(ROLES),)
            )
        ).fetchall()

    assert {*ROLES} == {name for name, _ in found}
    assert all(password.startswith("SCRAM-SHA-256$") for _, password in found)
    for role in ROLES:
        async with await psycopg.AsyncConnection.connect(migrated.dsn(role)):
            pass
