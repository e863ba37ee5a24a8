"""`vertebra run`: start a graph for each input, with a ticket signed here, and follow the runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from vertebra.cli.compiling import file_of, is_file
from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.endings import DONE
from vertebra.cli.follow import Follower, hints
from vertebra.cli.graphs import publish_draft
from vertebra.cli.inputs import read_inputs
from vertebra.cli.options import As, AsJson
from vertebra.client import graphs, temporal
from vertebra.client.connection import connect
from vertebra.client.people import acting
from vertebra.client.starts import Start, start_of
from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import fields_of
from vertebra.store.pool import Connection
from vertebra.workers.compiling import compile_file, whole_project
from vertebra.workers.frontend import address_of

app = typer.Typer()
STARTERS = ("starter", "operator", "admin")
_AT_ONCE = 20


@app.command(epilog="Example: vertebra run customer-support --input @tickets.jsonl")
def run(
    graph: Annotated[
        str, typer.Argument(metavar="GRAPH[@VERSION]", help="A published name, or a file to publish first.")
    ],
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="k=v|@FILE|-", help="A .jsonl file starts one run a line."),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Follow until every run ended or waits for a person.")] = True,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Start runs and follow them. Exit code 1 if one failed, 3 if one waits for a person."""
    desk = open_desk(as_json=as_json, named=as_)
    code = asyncio.run(_run(desk, graph, input_ or [], follow=follow))
    if code != DONE:
        raise typer.Exit(code)


async def _run(desk: Desk, graph: str, given: Sequence[str], *, follow: bool) -> int:
    name, version = await _meant(desk, graph)
    async with desk.database() as connection:
        starts = await _starts(connection, desk, (name, version), given)
        address = address_of(desk.settings)
        client = await connect(address)
        for first in range(0, len(starts), _AT_ONCE):
            await asyncio.gather(*(temporal.start(client, start) for start in starts[first : first + _AT_ONCE]))
        runs = [start.run for start in starts]
        follower = Follower(runs, desk.out, lambda run: temporal.refusal(client, run))
        if not follow:
            desk.out.give({"runs": follower.plain()}, "\n".join(runs))
            return DONE
        code = await follower.follow(connection)
    give(desk, follower)
    return code


def give(desk: Desk, follower: Follower) -> None:
    """The end of following: every run for programs; for people, what they may do next."""
    if desk.out.as_json:
        desk.out.give({"runs": follower.plain()}, "")
    for hint in hints(follower):
        desk.out.say(f"next: {hint}")


async def _meant(desk: Desk, graph: str) -> tuple[str, str | None]:
    """Name and version of what is to run; a file is published as a draft first."""
    if is_file(graph):
        settings = desk.settings
        project = await asyncio.to_thread(whole_project, settings.project, settings.sandbox_python)
        compiled = compile_file(project, file_of(project, graph))
        version, outcome = await publish_draft(desk, compiled)
        desk.out.say(f"{outcome} {compiled.graph.name}@{version}")
        return compiled.graph.name, version
    name, _, version = graph.partition("@")
    return name, version or None


async def _starts(
    connection: Connection, desk: Desk, meant: tuple[str, str | None], given: Sequence[str]
) -> list[Start]:
    """All starts, each checked before the first is made."""
    signer = desk.signer()
    await acting(connection, signer, STARTERS)
    published = await graphs.published(connection, *meant, drafts=desk.settings.drafts)
    inputs: list[Json] = read_inputs(given, fields_of(published.graph.input_json))
    return [start_of(published, value, signer) for value in inputs]
