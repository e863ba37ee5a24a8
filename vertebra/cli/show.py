"""`vertebra show`: a run with its path, cost and waits; or a graph as it was compiled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

from vertebra.cli import forms
from vertebra.cli.compiling import file_of, is_file
from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.options import AsJson
from vertebra.cli.output import money, one_line, span, stamp, table, when
from vertebra.client import graphs
from vertebra.client.commands import run_row
from vertebra.client.runs import Picture, error_of, picture
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.envelope import Envelope
from vertebra.schemas.errors import NotFound
from vertebra.schemas.graph import END, CompiledGraph, Node, Route
from vertebra.store.pool import Link
from vertebra.store.transaction import Row
from vertebra.workers.compiling import compile_file, whole_project

app = typer.Typer()


@app.command(epilog="Examples: vertebra show customer-support-01J..; vertebra show graphs/support.yaml --mermaid")
def show(
    what: Annotated[str, typer.Argument(metavar="RUN|GRAPH[@VERSION]|FILE")],
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="A graph, or that of a run, as a Mermaid flowchart.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run: path, visits, cost, waits; or a graph: as it is written, and as tasks and plans that alternate."""
    desk = open_desk(as_json=as_json)
    if is_file(what):
        project = whole_project(desk.settings.project, desk.settings.sandbox_python)
        _show_graph(desk, compile_file(project, file_of(project, what)).graph, mermaid=mermaid)
        return
    asyncio.run(_show_either(desk, what, mermaid=mermaid))


async def _show_either(desk: Desk, what: str, *, mermaid: bool) -> None:
    if not mermaid:
        try:
            await show_run(desk, what)
            return
        except NotFound:
            pass  # then it is a graph
    async with desk.database() as connection:
        name, version = await _named(connection, what)
        try:
            found = await graphs.published(connection, name, version or None, drafts=True)
        except NotFound as error:
            raise NotFound(f"{what!r} is neither a run nor a published graph", do=error.do) from None
    _show_graph(desk, found.graph, mermaid=mermaid)


async def _named(connection: Link, what: str) -> tuple[str, str]:
    """Name and version of a graph; of a run, those of the graph that it runs."""
    try:
        row = await run_row(connection, what)
    except NotFound:
        name, _, version = what.partition("@")
        return name, version
    return row["graph"], row["version"]


async def show_run(desk: Desk, run: str) -> None:
    """Everything worth knowing of one run. Raises NotFound."""
    async with desk.database() as connection:
        found = await picture(connection, run)
    desk.out.give(_plain(found), "\n\n".join(part for part in _parts(desk, found) if part))


def path_of(found: Iterable[Envelope]) -> str:
    """The tasks of a run in the order of finishing, a repeated node with its visit, and how it ended if not well."""
    return " -> ".join(_step(envelope) for envelope in found if envelope.kind == "task")


def _step(task: Envelope) -> str:
    name = f"{task.node}#{task.visit}" if task.visit > 1 else task.node
    return name if task.status == "succeeded" else f"{name} ({task.status})"


def _parts(desk: Desk, found: Picture) -> list[str]:
    row = found.run
    ended = row["ended_at"] or row["now"]
    error = error_of(row)
    head = [
        f"run       {row['id']}",
        f"graph     {row['graph']}@{row['version']}  {row['graph_digest']}",
        f"state     {row['state']}" + (f"  {error.type}: {one_line(error.message)}" if error else ""),
        f"for       {row['principal']}, started by {row['started_by']}",
        f"time      {when(row['started_at'])} to {when(row['ended_at'])}  ({span(ended - row['started_at'])})",
        f"cost      {_spent(row)}",
        f"path      {path_of(found.path) or '-'}",
    ]
    if desk.settings.temporal_ui:
        head.append(
            f"timeline  {desk.settings.temporal_ui}/namespaces/{desk.settings.temporal_namespace}/workflows/{row['id']}"
        )
    return ["\n".join(head), _calls(found.calls), _waits(row["id"], found)]


def _spent(row: Row) -> str:
    limits = [money(row["limit_microusd"])] if row["limit_microusd"] is not None else []
    limits += [f"{row['limit_tokens']} tokens"] if row["limit_tokens"] is not None else []
    held = f", held {money(row['held_microusd'])}" if row["held_microusd"] or row["held_tokens"] else ""
    return f"{money(row['spent_microusd'])}, {row['spent_tokens']} tokens{held}" + (
        f" of {' and '.join(limits)}" if limits else ""
    )


def _calls(calls: Iterable[Row]) -> str:
    lines = [
        (call["activity_id"], call["kind"], call["status"], call["attempts"], money(call["microusd"]), call["tokens"],
         span(call["ended_at"] - call["at"]) if call["ended_at"] else "-")
        for call in calls
    ]  # fmt: skip
    return table(("CALL", "KIND", "STATUS", "ATTEMPTS", "COST", "TOKENS", "TIME"), lines) if lines else ""


def _waits(run: str, found: Picture) -> str:
    lines = []
    for wait in found.waits:
        error = None if wait["error"] is None else CallError.model_validate_json(bytes(wait["error"]))
        told = f": {error.type}: {one_line(error.message)}" if error else ""
        lines.append(
            f"waits     {wait['node']} (visit {wait['visit']}) for {wait['kind']} since {when(wait['since'])}{told}"
        )
        lines.append(f"          {_remedy(run, wait, found.events)}")
    return "\n".join(lines)


def _remedy(run: str, wait: Row, events: Mapping[str, str]) -> str:
    match wait["kind"]:
        case "approval":
            return f"vertebra approvals show {wait['ref']}"
        case "top_up":
            return f"vertebra budgets top-up {run} --usd 1 --tokens 100000"
        case "renewal":
            return f"vertebra contexts renew {run} --for 8h"
        case "event":
            return f"vertebra send {run} {events.get(wait['node'], 'EVENT')} --payload k=v"
    return f"vertebra retry {run} {wait['node']}   (or skip, override, abort)"


def _plain(found: Picture) -> Json:
    row, error = found.run, error_of(found.run)
    return {
        "run": row["id"],
        "graph": row["graph"],
        "version": row["version"],
        "graph_digest": row["graph_digest"],
        "state": row["state"],
        "principal": row["principal"],
        "started_by": row["started_by"],
        "correlation_id": row["correlation_id"],
        "epoch": row["epoch"],
        "started_at": stamp(row["started_at"]),
        "ended_at": stamp(row["ended_at"]),
        "cost_microusd": row["spent_microusd"],
        "held_microusd": row["held_microusd"],
        "limit_microusd": row["limit_microusd"],
        "tokens": row["spent_tokens"],
        "held_tokens": row["held_tokens"],
        "limit_tokens": row["limit_tokens"],
        "error": None if error is None else error.model_dump(mode="json"),
        "output": None if row["output"] is None else json.loads(bytes(row["output"])),
        "path": [_plain_step(step) for step in found.path if step.kind == "task"],
        "calls": [_plain_call(call) for call in found.calls],
        "waits": [_plain_wait(wait) for wait in found.waits],
        "approvals": [{"id": one["id"], "node": one["node"], "state": one["state"]} for one in found.approvals],
    }


def _plain_step(step: Envelope) -> Json:
    return {"node": step.node, "visit": step.visit, "status": step.status}


def _plain_wait(wait: Row) -> Json:
    return {name: wait[name] for name in ("node", "visit", "kind", "ref", "round")} | {"since": stamp(wait["since"])}


def _plain_call(call: Row) -> Json:
    names = ("id", "activity_id", "kind", "effect", "node", "visit", "status", "attempts", "held", "tokens")
    return {name: call[name] for name in names} | {"cost_microusd": call["microusd"]}


def _show_graph(desk: Desk, graph: CompiledGraph, *, mermaid: bool) -> None:
    spine = graph.spine
    head = [
        f"graph        {graph.name}@{graph.version}  {graph.digest}",
        f"principal    {graph.principal or '- (starts need a ticket)'}",
        f"permissions  {', '.join(spine.permissions) or 'none'}",
        f"tools        {', '.join(spine.tools) or 'none'}",
        f"models       {', '.join(spine.models) or 'none'}",
        f"budget       {_budget(graph)}",
    ]
    nodes = table(
        ("NODE", "TYPE", "BY", "THEN"), [_node(node, graph.routes[name]) for name, node in graph.nodes.items()]
    )
    plain: Json = json.loads(graph.canonical)
    text = "\n\n".join(["\n".join(head), nodes, f"edges:\n{forms.written(graph)}", forms.as_lines(graph)])
    value = {"digest": graph.digest, "graph": plain, "tasks_and_plans": forms.as_json(graph)}
    desk.out.give(value, forms.as_mermaid(graph) if mermaid else text)


def _budget(graph: CompiledGraph) -> str:
    budget = graph.spine.budget
    if budget is None:
        return "none"
    tokens = "" if budget.tokens is None else f", {budget.tokens} tokens"
    return f"{money(budget.microusd)}{tokens}, on breach {budget.on_breach}"


def _node(node: Node, route: Route) -> tuple[str, str, str, str]:
    ways = []
    for edge in route.edges:
        to = " + ".join(edge.to)
        ways.append(f"{to} if {edge.when.text}" if edge.when else f"else {to}" if edge.otherwise else to)
    if node.on_error:
        ways.append(f"on error {node.on_error}")
    return node.id, node.type, node.agent or node.tool or "", "; ".join(ways) or END
