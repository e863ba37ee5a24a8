"""`vertebra schemas`: JSON Schemas of the files of a project, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertebra.cli import editor
from vertebra.cli.options import PROJECT, AsJson
from vertebra.cli.output import Output, table
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import StoreError
from vertebra.settings import find_project

app = typer.Typer(no_args_is_help=True, help="JSON Schemas of the files of a project, for editors.")


@app.command(epilog="Example: vertebra schemas write")
def write(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where to; by default the project's .vertebra/schemas.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a schema for each kind of file. `vertebra init` has done so; do it again after an upgrade or a clone."""
    target = folder or find_project(PROJECT.get() or Path.cwd()) / editor.FOLDER
    try:
        written = editor.write(target)
    except OSError as error:
        raise StoreError(f"the schemas cannot be written: {error.strerror}", at=target) from None
    Output(as_json).give(
        {"folder": str(target), "schemas": [path.name for path in written]},
        "\n".join(f"{path}  {editor.FILES[path.stem].files}" for path in written),
    )


@app.command("list", epilog="Example: vertebra schemas list")
def list_(as_json: AsJson = False) -> None:
    """Which files have a schema, and its name."""
    rows = [(f"{name}.json", kind.files, kind.title) for name, kind in editor.FILES.items()]
    plain: list[Json] = [{"schema": name, "files": files, "title": title} for name, files, title in rows]
    Output(as_json).give(plain, table(("SCHEMA", "FILES", ""), rows))
