"""`vertebra check` and `vertebra publish`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from vertebra.cli.compiling import file_of, is_file
from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.endings import FAILED
from vertebra.cli.options import As, AsJson
from vertebra.client import graphs
from vertebra.compiler import Project
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import Complaints, GraphError, NotFound, PolicyError, VertebraError
from vertebra.workers.compiling import Compiled, compile_file, whole_project

check_app = typer.Typer()
publish_app = typer.Typer()

GraphsArgument = Annotated[list[str] | None, typer.Argument(metavar="[GRAPH]...", help="Names or files; else all.")]


@check_app.command(epilog="Example: vertebra check graphs/customer-support.yaml")
def check(graph: GraphsArgument = None, as_json: AsJson = False) -> None:
    """Check graphs with their prompts, tools, people and prices; every mistake is told at once, with its line."""
    desk = open_desk(as_json=as_json)
    project = whole_project(desk.settings.project, desk.settings.sandbox_python)
    files = [file_of(project, name) for name in graph] if graph else list(project.graphs)
    if not files:
        raise NotFound("this project has no graph", do="put one into graphs/NAME.yaml")
    results = [_checked(project, file) for file in files]
    text = "\n".join(str(found["text"]) for found in results)
    desk.out.give([{name: value for name, value in found.items() if name != "text"} for found in results], text)
    if not all(found["ok"] for found in results):
        raise typer.Exit(FAILED)


@publish_app.command(epilog="Examples: vertebra publish customer-support; vertebra publish customer-support@1.0.0")
def publish(
    graph: Annotated[str, typer.Argument(metavar="GRAPH[@VERSION]", help="A name, a file, or a published version.")],
    draft: Annotated[
        bool, typer.Option("--draft", help="As a draft, which only counts where drafts are served.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compile, and say what would be published.")] = False,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Publish a graph with every text that it pins; with @VERSION make that version the current one again."""
    desk = open_desk(as_json=as_json, named=as_)
    name, _, version = graph.partition("@")
    if version and not is_file(graph):
        asyncio.run(_publish_again(desk, name, version))
        return
    project = whole_project(desk.settings.project, desk.settings.sandbox_python)
    compiled = compile_file(project, file_of(project, graph))
    asyncio.run(_publish(desk, compiled, draft=draft, dry_run=dry_run))


async def publish_draft(desk: Desk, compiled: Compiled) -> tuple[str, graphs.Outcome]:
    """Publish what stands in a file now, as a draft; its version, and whether it is new."""
    graph = graphs.draft_of(compiled.graph)
    async with desk.database() as connection:
        outcome = await graphs.publish(connection, desk.signer(), graph, compiled.texts, draft=True)
    return graph.version, outcome


async def _publish(desk: Desk, compiled: Compiled, *, draft: bool, dry_run: bool) -> None:
    graph = graphs.draft_of(compiled.graph) if draft else compiled.graph
    outcome: str = "not published: dry run"
    if not dry_run:
        async with desk.database() as connection:
            outcome = await graphs.publish(connection, desk.signer(), graph, compiled.texts, draft=draft)
    value: Json = {"graph": graph.name, "version": graph.version, "digest": graph.digest, "outcome": outcome}
    desk.out.give(value, f"{graph.name}@{graph.version}  {graph.digest}  {outcome}")


async def _publish_again(desk: Desk, name: str, version: str) -> None:
    async with desk.database() as connection:
        outcome = await graphs.republish(connection, desk.signer(), name, version)
    desk.out.give({"graph": name, "version": version, "outcome": outcome}, f"{name}@{version}  {outcome}")


def _checked(project: Project, file: Path) -> dict[str, Json]:
    try:
        graph = compile_file(project, file).graph
    except (GraphError, PolicyError) as error:
        told = error.complaints if isinstance(error, Complaints) else (error,)
        lines = "\n".join(str(one) for one in told)
        many = f"{len(told)} mistake{'s' if len(told) > 1 else ''}"
        return {
            "file": str(file),
            "ok": False,
            "complaints": [_plain(one) for one in told],
            "text": f"{lines}\n{file}: {many}",
        }
    nodes = f"{len(graph.nodes)} node{'' if len(graph.nodes) == 1 else 's'}"
    return {
        "file": str(file),
        "ok": True,
        "complaints": [],
        "graph": graph.name,
        "version": graph.version,
        "digest": graph.digest,
        "text": f"{file}: {graph.name}@{graph.version} is sound: {nodes}, {graph.digest}",
    }


def _plain(error: VertebraError) -> Json:
    return {"at": error.at, "message": error.message, "do": error.do}
