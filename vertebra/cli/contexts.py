"""`vertebra contexts`: the rights of a run, until when they hold, and taking them away."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.durations import seconds
from vertebra.cli.operate import give_orders
from vertebra.cli.options import As, AsJson, Reason, RunArgument
from vertebra.cli.output import stamp, table, when
from vertebra.client import contexts
from vertebra.client.commands import Order
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import NotFound
from vertebra.store.transaction import Row

app = typer.Typer(no_args_is_help=True, help="List, renew and revoke the rights of a run.")


@app.command("list", epilog="Example: vertebra contexts list customer-support-01J..")
def list_(run: RunArgument, as_json: AsJson = False) -> None:
    """Who holds which rights until when; the spine's own first."""
    desk = open_desk(as_json=as_json)
    rows = desk.ask(lambda connection: contexts.contexts(connection, run))
    lines = [
        (row["id"], row["agent"] or "(spine)", _state(row), when(_until(row)), ", ".join(_tools(row)) or "-")
        for row in rows
    ]
    desk.out.give([_plain(row) for row in rows], table(("CONTEXT", "AGENT", "STATE", "UNTIL", "TOOLS"), lines))


@app.command(epilog="Example: vertebra contexts renew customer-support-01J.. --for 8h")
def renew(
    run: RunArgument,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long from now: 90s, 30m, 8h, 7d.")],
    context: Annotated[str | None, typer.Option(help="Only this one; else all of the run.")] = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Let the same rights hold longer; a run that waits for renewal goes on."""
    desk = open_desk(as_json=as_json, named=as_)
    asyncio.run(_renew(desk, run, seconds(for_), context, reason))


@app.command(epilog="Example: vertebra contexts revoke ABC.. --reason 'key leaked'")
def revoke(
    context: Annotated[str, typer.Argument(metavar="CONTEXT", help="As `vertebra contexts list RUN` shows it.")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; every refused call tells it.")],
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """End the rights of a context and of all that were derived from it, from the next effect on."""
    desk = open_desk(as_json=as_json, named=as_)
    id_ = desk.ask(lambda connection: contexts.revoke(connection, desk.signer(), "context", context, reason))
    desk.out.give({"revocation": id_, "context": context}, f"revoked {context}: {reason}")


async def _renew(desk: Desk, run: str, length_s: int, context: str | None, reason: str | None) -> None:
    async with desk.database() as connection:
        ids = [row["id"] for row in await contexts.contexts(connection, run)]
        if context is not None and context not in ids:
            raise NotFound(f"run {run!r} has no context {context!r}", do=f"list them: vertebra contexts list {run}")
        # a child is dead while an ancestor is: by default the whole line is renewed
        chosen = ids if context is None else [context]
        orders = [Order("renew", arguments={"seconds": length_s, "context": id_}, reason=reason) for id_ in chosen]
        await give_orders(desk, connection, run, orders)


def _until(row: Row) -> datetime | None:
    renewed: datetime | None = row["renewed_until"]
    until: datetime | None = row["expires_at"]
    return until if renewed is None else renewed


def _state(row: Row) -> str:
    until = _until(row)
    if row["revoked"] is not None:
        return f"revoked: {row['revoked']}"
    return "expired" if until is not None and until <= row["now"] else "holds"


def _tools(row: Row) -> list[str]:
    return [str(name) for name in json.loads(bytes(row["grant"])).get("tools", [])]


def _plain(row: Row) -> Json:
    return {
        "id": row["id"],
        "parent": row["parent"],
        "agent": row["agent"],
        "depth": row["depth"],
        "state": _state(row),
        "until": stamp(_until(row)),
        "grant": json.loads(bytes(row["grant"])),
    }
