"""Bring a database to this release's schema and roles, once, however many ask at the same time.

Works from package data, without an alembic.ini. Roles are made if they are missing; production may make them before and
migrate as `vertebra_owner` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from vertebra.schemas.errors import SettingsError, StoreError
from vertebra.store.schema import REVISION

Role = Literal["vertebra_owner", "vertebra_gate", "vertebra_api", "vertebra_keeper", "vertebra_reader"]
OWNER: Role = "vertebra_owner"
ROLES: tuple[Role, ...] = get_args(Role)

_LOCK = 0x76657274  # "vert"
_MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(dsn: str, passwords: Mapping[Role, str] | None = None, revision: str = REVISION) -> None:
    """Create what is missing, as one transaction under an advisory lock: all of it happens, or nothing.

    `dsn` is of a superuser, or of `vertebra_owner` where the roles exist already. A role with a password may log in.
    `revision` is an older one only where a test fills a database of an earlier release.
    Blocking; call it at start, in a thread where a loop runs. Raises SettingsError, StoreError.
    """
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            _make_roles(connection, passwords or {})
        _upgrade(dsn, revision)
    except (psycopg.Error, DBAPIError) as error:
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        raise StoreError(f"the database could not be migrated: {reason}", do="see: vertebra doctor") from error


def _make_roles(connection: psycopg.Connection, passwords: Mapping[Role, str]) -> None:
    # roles belong to the whole server, and so does this lock's neighbour: take it in the transaction that makes them
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        rows = connection.execute("select rolname from pg_roles where rolname = any(%s)", (list(ROLES),)).fetchall()
        missing = [role for role in ROLES if (role,) not in rows]
        _require_rights(connection, missing)
        for role in missing:
            _create_role(connection, role)
        for role, password in sorted(passwords.items()):
            _set_password(connection, role, password)


def _require_rights(connection: psycopg.Connection, missing: list[Role]) -> None:
    row = connection.execute("select rolsuper or rolcreaterole from pg_roles where rolname = current_user").fetchone()
    if missing and not (row and row[0]):
        raise SettingsError(
            f"the roles {', '.join(missing)} do not exist and {connection.info.user!r} may not create roles",
            do="create them first, or migrate once with a superuser's DSN",
        )


def _create_role(connection: psycopg.Connection, role: Role) -> None:
    # another database of this server may be migrating: whoever comes second finds the role
    statement = sql.SQL(
        "do $$ begin create role {}; exception when duplicate_object or unique_violation then null; end $$"
    )
    connection.execute(statement.format(sql.Identifier(role)))


def _set_password(connection: psycopg.Connection, role: Role, password: str) -> None:
    # hashed here, so that no server log holds it
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(hashed)))


def _upgrade(dsn: str, revision: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        _become_owner(connection)
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        command.upgrade(config, revision)


def _become_owner(connection: Connection) -> None:
    """Own what is made as `vertebra_owner`, whoever migrates."""
    if connection.scalar(text("select current_user")) == OWNER:
        return
    connection.execute(text(f"grant create, usage on schema public to {OWNER}"))
    connection.execute(text(f"grant usage on schema public to {', '.join(ROLES)}"))
    connection.execute(text(f"set local role {OWNER}"))
