"""`vertebra runs`: list, show and watch runs, and get their results."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.endings import DONE
from vertebra.cli.follow import Follower
from vertebra.cli.options import AsJson, RunArgument
from vertebra.cli.output import money, span, stamp, table, when
from vertebra.cli.run import give
from vertebra.cli.show import show_run
from vertebra.client import runs as client
from vertebra.client.commands import run_row
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.store.tables import RUN_STATES
from vertebra.store.transaction import Row

app = typer.Typer(no_args_is_help=True, help="List, show and watch runs, and get their results.")


@app.command("list", epilog="Example: vertebra runs list --state awaiting_human")
def list_(
    state: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
    graph: Annotated[str | None, typer.Option(help="Only runs of this graph.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest runs with state, cost and time."""
    if state is not None and state not in RUN_STATES:
        raise BadInput(f"no state is called {state!r}", at="--state", do=f"known are: {', '.join(RUN_STATES)}")
    desk = open_desk(as_json=as_json)
    rows = desk.ask(lambda connection: client.runs(connection, state=state, graph=graph, limit=limit))
    lines = [
        (row["id"], row["state"], f"{row['graph']}@{row['version']}", money(row["spent_microusd"]), row["spent_tokens"],
         when(row["started_at"]), span((row["ended_at"] or row["now"]) - row["started_at"]))
        for row in rows
    ]  # fmt: skip
    desk.out.give(
        [_plain(row) for row in rows], table(("RUN", "STATE", "GRAPH", "COST", "TOKENS", "STARTED", "TIME"), lines)
    )


@app.command(epilog="Example: vertebra runs show customer-support-01J..")
def show(run: RunArgument, as_json: AsJson = False) -> None:
    """The path taken with visits, cost and waits; the same as `vertebra show RUN`."""
    asyncio.run(show_run(open_desk(as_json=as_json), run))


@app.command(epilog="Example: vertebra runs watch customer-support-01J..")
def watch(run: Annotated[list[str], typer.Argument(metavar="RUN...")], as_json: AsJson = False) -> None:
    """Follow runs until every one ended or waits for a person; exit codes as of `vertebra run`."""
    code = asyncio.run(_watch(open_desk(as_json=as_json), run))
    if code != DONE:
        raise typer.Exit(code)


@app.command(epilog="Example: vertebra runs result customer-support-01J.. --json")
def result(run: RunArgument, as_json: AsJson = False) -> None:
    """The output of a completed run."""
    desk = open_desk(as_json=as_json)
    value = desk.ask(lambda connection: client.output(connection, run))
    desk.out.give(value, json.dumps(value, ensure_ascii=False, indent=2))


async def _watch(desk: Desk, runs: list[str]) -> int:
    async with desk.database() as connection:
        for run in runs:
            await run_row(connection, run)

        async def never_refused(run: str) -> str | None:
            return None

        follower = Follower(runs, desk.out, never_refused)
        code = await follower.follow(connection)
    give(desk, follower)
    return code


def _plain(row: Row) -> Json:
    error = client.error_of(row)
    return {
        "run": row["id"],
        "state": row["state"],
        "graph": row["graph"],
        "version": row["version"],
        "principal": row["principal"],
        "cost_microusd": row["spent_microusd"],
        "tokens": row["spent_tokens"],
        "approvals": row["approvals"],
        "started_at": stamp(row["started_at"]),
        "ended_at": stamp(row["ended_at"]),
        "error": None if error is None else f"{error.type}: {error.message}",
    }
