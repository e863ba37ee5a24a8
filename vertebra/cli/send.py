"""`vertebra send`: a signed event to a run that waits for it, now or later."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.inputs import read_inputs
from vertebra.cli.operate import give_orders
from vertebra.cli.options import As, AsJson, Reason, RunArgument
from vertebra.client import graphs
from vertebra.client.commands import Order, run_row
from vertebra.policies.fields import check_fields, nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.schemas.fields import Field, fields_of
from vertebra.schemas.graph import CompiledGraph

app = typer.Typer()
_AT = "--payload"


@app.command(epilog="Example: vertebra send order-01J.. paid --payload amount=12.50")
def send(
    run: RunArgument,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="What a `wait` node of the graph waits for.")],
    payload: Annotated[
        list[str] | None, typer.Option("--payload", metavar="k=v|@FILE|-", help="What comes with the event.")
    ] = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Send an event to a run. One that nobody waits for yet is kept; each is taken once, the oldest first."""
    asyncio.run(_send(open_desk(as_json=as_json, named=as_), run, event, payload or [], reason))


async def _send(desk: Desk, run: str, event: str, given: list[str], reason: str | None) -> None:
    async with desk.database() as connection:
        row = await run_row(connection, run)
        graph = (await graphs.published(connection, row["graph"], row["version"], drafts=True)).graph
        value: Json = {"event": event, "payload": payload_for(graph, event, given)}
        await give_orders(desk, connection, run, [Order("event", arguments=value, reason=reason)])


def payload_for(graph: CompiledGraph, event: str, given: list[str]) -> Json:
    """The payload, checked against the forms of the nodes that wait for this event. Raises BadInput."""
    waiting = [node for node in graph.nodes.values() if node.pause is not None and node.pause.event == event]
    if not waiting:
        known = [node.pause.event for node in graph.nodes.values() if node.pause is not None and node.pause.event]
        raise BadInput(
            f"no node of graph {graph.name!r} waits for an event {event!r}",
            do=nearest(event, known) or f"its events are: {', '.join(known) or 'none'}",
        )
    forms = [fields_of(node.form_json) for node in waiting if node.form_json is not None]
    named = {name: field for form in forms for name, field in form.items()}
    free = {text.partition("=")[0]: Field(type="string") for text in given if "=" in text and not text.startswith("@")}
    value = read_inputs(given, named if forms else free, at=_AT)[0]
    for form in forms:
        check_fields(form, value, at=_AT)
    return value
