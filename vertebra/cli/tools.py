"""`vertebra tools`: what agents may do in the world, vertebra's own tools and the project's."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.options import AsJson
from vertebra.cli.output import table
from vertebra.policies.fields import nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import NotFound
from vertebra.schemas.tool import ToolSpec
from vertebra.tools.registry import builtin
from vertebra.workers.compiling import whole_project

app = typer.Typer(no_args_is_help=True, help="List and show tools.")


@app.command("list", epilog="Example: vertebra tools list")
def list_(as_json: AsJson = False) -> None:
    """Every tool that a graph of this project may name, with what it does to the world."""
    desk = open_desk(as_json=as_json)
    tools = _all(desk)
    rows = [
        (name, spec.effect, spec.runs, at or "vertebra", spec.description) for name, (spec, at) in sorted(tools.items())
    ]
    plain: list[Json] = [
        {"name": name, "effect": effect, "runs": runs, "from": origin, "description": description}
        for name, effect, runs, origin, description in rows
    ]
    desk.out.give(plain, table(("NAME", "EFFECT", "RUNS IN", "FROM", "WHAT IT DOES"), rows))


@app.command(epilog="Example: vertebra tools show search_docs")
def show(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: AsJson = False) -> None:
    """One tool's whole definition, with the digest that a graph pins."""
    desk = open_desk(as_json=as_json)
    tools = _all(desk)
    if name not in tools:
        raise NotFound(f"there is no tool {name!r}", do=nearest(name, tools) or "list them with: vertebra tools list")
    spec, at = tools[name]
    plain: dict[str, Json] = {**json.loads(spec.model_dump_json(exclude_none=True)), "pin": spec.digest}
    plain["from"] = at or "vertebra"
    desk.out.give(plain, json.dumps(plain, ensure_ascii=False, indent=2))


def _all(desk: Desk) -> dict[str, tuple[ToolSpec, str | None]]:
    """By name: the definition, and where it stands in the project."""
    found: dict[str, tuple[ToolSpec, str | None]] = {name: (spec, None) for name, spec in builtin().specs.items()}
    project = whole_project(desk.settings.project, desk.settings.sandbox_python)
    return found | {name: (tool.spec, tool.at) for name, tool in project.tools.items()}
