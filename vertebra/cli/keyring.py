"""`vertebra keys`: the keys that this machine holds, for workers and people who have no `vertebra dev` to make them."""

from __future__ import annotations

from typing import Annotated

import typer

from vertebra.audit.keys import audit_keys, context_key, person_key
from vertebra.cli.desk import open_desk
from vertebra.cli.keys import make_keys
from vertebra.cli.options import AsJson
from vertebra.cli.output import table
from vertebra.schemas.canonical import Json

app = typer.Typer(no_args_is_help=True, help="Make and list the keys of this machine.")


@app.command(epilog="Example: vertebra keys make --person ada")
def make(
    person: Annotated[
        str | None, typer.Option("--person", metavar="NAME", help="A person's own key, and no worker's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make what is missing in the folder of keys: a worker's seal and audit keys, or one person's. None is replaced.

    All workers of one database need the same two; copy the folder by a safe way. Lost ones cannot be made again.
    """
    desk = open_desk(as_json=as_json)
    folder = desk.settings.keys
    if person is None:
        make_keys(folder)
        desk.out.give({"folder": str(folder)}, f"{folder} holds seal.key and audit.key; keep a copy of both")
        return
    public = person_key(folder, person, create=True).public.hex()
    told = f"an administrator enrols it with: vertebra people add {person} --role ROLE --public-key {public}"
    desk.out.give({"folder": str(folder), "person": person, "public_key": public}, told)


@app.command("list", epilog="Example: vertebra keys list")
def list_(as_json: AsJson = False) -> None:
    """The keys in the folder by name and id; nothing secret is shown."""
    desk = open_desk(as_json=as_json)
    folder = desk.settings.keys
    found: list[tuple[str, str]] = []
    if (folder / "seal.key").exists():
        found.append(("seal", context_key(folder).id))
    if (folder / "audit.key").exists():
        current = audit_keys(folder)
        found += [("audit" if id_ == current.current.id else "audit, older", id_) for id_ in current.known]
    for path in sorted((folder / "people").glob("*.key")):
        found.append((path.stem, person_key(folder, path.stem).public.hex()))
    plain: list[Json] = [{"key": name, "id": id_} for name, id_ in found]
    desk.out.give(plain, table(("KEY", "ID, OR A PERSON'S PUBLIC HALF"), found))
