"""`vertebra migrate`: the database's schema and roles, and Temporal's search attributes."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict

from vertebra.cli.desk import open_desk
from vertebra.cli.options import AsJson
from vertebra.client.temporal import register_attributes
from vertebra.schemas.errors import SettingsError
from vertebra.settings import DSN_OF, Settings, variable
from vertebra.store.migrate import OWNER, Role
from vertebra.store.migrate import migrate as migrate_database
from vertebra.store.schema import REVISION
from vertebra.workers.frontend import address_of

app = typer.Typer()


@app.command(epilog="Example: VERTEBRA_DATABASE_URL=postgresql://... vertebra migrate")
def migrate(
    database_only: Annotated[bool, typer.Option("--database-only", help="Leave Temporal as it is.")] = False,
    logins: Annotated[
        bool, typer.Option("--logins", help="Let each role log in with the password of its DSN, where one is set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring database and Temporal to this release. Safe to repeat, and safe from several machines at once."""
    desk = open_desk(as_json=as_json)
    migrate_database(desk.settings.dsn("vertebra_owner"), passwords(desk.settings) if logins else None)
    added: list[str] = []
    if not database_only:
        added = asyncio.run(register_attributes(address_of(desk.settings)))
    told = f"the schema is {REVISION}; search attributes added: {', '.join(added) or 'none'}"
    desk.out.give({"revision": REVISION, "search_attributes_added": [*added]}, told)


def passwords(settings: Settings) -> dict[Role, str]:
    """What the DSNs of the settings log in with, the owner's left out: it is what migrates."""
    found: dict[Role, str] = {}
    for role, name in DSN_OF.items():
        dsn = getattr(settings, name)
        if role != OWNER and dsn is not None:
            found[role] = _password(role, name, dsn.get_secret_value())
    if not found:
        raise SettingsError("no role has a DSN to take a password from", do=f"set {variable(DSN_OF['vertebra_gate'])}")
    return found


def _password(role: Role, name: str, dsn: str) -> str:
    parts = conninfo_to_dict(dsn)
    if parts.get("user") != role or not parts.get("password"):
        raise SettingsError(
            f"this logs in as {parts.get('user')!r}, {'with' if parts.get('password') else 'without'} a password",
            at=variable(name),
            do=f"write postgresql://{role}:PASSWORD@HOST/DATABASE",
        )
    return str(parts["password"])
