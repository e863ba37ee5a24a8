"""`vertebra migrate`: the database's schema and roles, and Temporal's search attributes."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from vertebra.cli.desk import open_desk
from vertebra.cli.options import AsJson
from vertebra.client.temporal import Address, register_attributes
from vertebra.store.migrate import migrate as migrate_database
from vertebra.store.schema import REVISION

app = typer.Typer()


@app.command(epilog="Example: VERTEBRA_DATABASE_URL=postgresql://... vertebra migrate")
def migrate(
    database_only: Annotated[bool, typer.Option("--database-only", help="Leave Temporal as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring database and Temporal to this release. Safe to repeat, and safe from several machines at once."""
    desk = open_desk(as_json=as_json)
    migrate_database(desk.settings.dsn("vertebra_owner"))
    added: list[str] = []
    if not database_only:
        address = Address(desk.settings.temporal_address, desk.settings.temporal_namespace)
        added = asyncio.run(register_attributes(address))
    told = f"the schema is {REVISION}; search attributes added: {', '.join(added) or 'none'}"
    desk.out.give({"revision": REVISION, "search_attributes_added": [*added]}, told)
