"""`vertebra people`: who may do what, by which key. The list is written as the owner of the database."""

from __future__ import annotations

from typing import Annotated

import typer

from vertebra.audit.keys import person_key
from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.options import AsJson
from vertebra.cli.output import stamp, table, when
from vertebra.client import people
from vertebra.client.people import Enrolment
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.store.transaction import Row

app = typer.Typer(no_args_is_help=True, help="List, add and revoke people.")
_KEY_HEX = 64


@app.command("list", epilog="Example: vertebra people list")
def list_(as_json: AsJson = False) -> None:
    """Everybody who is enrolled, with roles and key."""
    desk = open_desk(as_json=as_json)
    rows = desk.ask(people.people)
    lines = [
        (row["name"], ", ".join(row["roles"]), "service" if row["service"] else row["key"], when(row["enrolled_at"]),
         f"revoked {when(row['revoked_at'])}" if row["revoked_at"] else "")
        for row in rows
    ]  # fmt: skip
    desk.out.give([_plain(row) for row in rows], table(("NAME", "ROLES", "KEY", "SINCE", ""), lines))


@app.command(epilog="Example: vertebra people add ada --role support_lead --role operator")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    role: Annotated[list[str] | None, typer.Option("--role", help="May be given several times.")] = None,
    service: Annotated[
        bool, typer.Option("--service", help="No human: it may start runs, and decides nothing.")
    ] = False,
    public_key: Annotated[
        str | None, typer.Option(metavar="HEX", help="The public half of a key made elsewhere; else one is made here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enrol a person, or give one other roles."""
    desk = open_desk(as_json=as_json)
    enrolment = Enrolment(name, tuple(role or ()), _public(desk, name, service, public_key), service=service)
    changed = desk.ask(lambda connection: people.enrol(connection, [enrolment], by=desk.person), "vertebra_owner")
    told = "enrolled" if changed else "unchanged"
    desk.out.give({"name": name, "roles": [*enrolment.roles], "outcome": told}, f"{name}: {told}")


@app.command(epilog="Example: vertebra people revoke ada")
def revoke(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: AsJson = False) -> None:
    """End what a person may do, for good: decisions and tickets signed with the key count no more."""
    desk = open_desk(as_json=as_json)

    desk.ask(lambda connection: people.revoke_person(connection, name, by=desk.person), "vertebra_owner")
    desk.out.give({"name": name, "outcome": "revoked"}, f"{name}: revoked")


def _public(desk: Desk, name: str, service: bool, given: str | None) -> bytes | None:
    if service:
        return None
    if given is None:
        return person_key(desk.settings.keys, name, create=True).public
    try:
        found = bytes.fromhex(given)
    except ValueError:
        found = b""
    if len(given) != _KEY_HEX or not found:
        raise BadInput("a public key is 64 hex digits", at="--public-key")
    return found


def _plain(row: Row) -> Json:
    return {
        "name": row["name"],
        "roles": row["roles"],
        "service": row["service"],
        "signer": row["signer"],
        "key": row["key"],
        "enrolled_by": row["enrolled_by"],
        "enrolled_at": stamp(row["enrolled_at"]),
        "revoked_at": stamp(row["revoked_at"]),
    }
