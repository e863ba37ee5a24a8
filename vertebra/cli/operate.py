"""`vertebra retry skip override abort cancel resume`: signed commands to one run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.options import As, AsJson, Reason, RunArgument
from vertebra.cli.results import read_result
from vertebra.cli.waking import wake_run
from vertebra.client import graphs
from vertebra.client.commands import Order, command, run_row
from vertebra.policies.fields import nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.store.pool import Connection

retry_app, skip_app, override_app = typer.Typer(), typer.Typer(), typer.Typer()
abort_app, cancel_app, resume_app = typer.Typer(), typer.Typer(), typer.Typer()

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A blocked node, as `vertebra show RUN` shows it.")]
Visit = Annotated[int | None, typer.Option(min=1, help="Which visit, where several are blocked.")]


@retry_app.command(epilog="Example: vertebra retry customer-support-01J.. send --reason 'the mail server is back'")
def retry(
    run: RunArgument,
    node: NodeArgument,
    visit: Visit = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Try a blocked node again. Where the outcome is unknown, this says: it did not happen."""
    desk = open_desk(as_json=as_json, named=as_)
    asyncio.run(_order(desk, run, Order("retry", node, visit, None, reason)))


@skip_app.command(epilog="Example: vertebra skip customer-support-01J.. research")
def skip(
    run: RunArgument,
    node: NodeArgument,
    visit: Visit = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Leave out a blocked node: it has no result, and its plain or `else` edge is taken. Stands for good."""
    desk = open_desk(as_json=as_json, named=as_)
    asyncio.run(_order(desk, run, Order("skip", node, visit, None, reason)))


@override_app.command(
    epilog="Example: vertebra override customer-support-01J.. draft --result text='We will call you.'"
)
def override(
    run: RunArgument,
    node: NodeArgument,
    result: Annotated[list[str], typer.Option("--result", metavar="k=v|@FILE|-", help="The node's result, in full.")],
    visit: Visit = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Give a blocked node's result by hand. Where the outcome is unknown, this says: it happened."""
    desk = open_desk(as_json=as_json, named=as_)
    asyncio.run(_override(desk, run, Order("override", node, visit, None, reason), result))


@abort_app.command(epilog="Example: vertebra abort customer-support-01J.. --reason 'wrong customer'")
def abort(run: RunArgument, reason: Reason = None, as_: As = None, as_json: AsJson = False) -> None:
    """End a run as aborted. `vertebra resume` can take it up again."""
    asyncio.run(_order(open_desk(as_json=as_json, named=as_), run, Order("abort", reason=reason)))


@cancel_app.command(epilog="Example: vertebra cancel customer-support-01J..")
def cancel(run: RunArgument, reason: Reason = None, as_: As = None, as_json: AsJson = False) -> None:
    """End a run as cancelled; calls not yet sent are released, calls in flight are settled."""
    asyncio.run(_order(open_desk(as_json=as_json, named=as_), run, Order("cancel", reason=reason)))


@resume_app.command(
    epilog="Example: vertebra resume customer-support-01J.. && vertebra runs watch customer-support-01J.."
)
def resume(run: RunArgument, reason: Reason = None, as_: As = None, as_json: AsJson = False) -> None:
    """Go on with a run that has ended, under the same id; what is done is not done or paid again. Wakes an open one."""
    asyncio.run(_order(open_desk(as_json=as_json, named=as_), run, Order("resume", reason=reason)))


async def _order(desk: Desk, run: str, order: Order) -> None:
    async with desk.database() as connection:
        await give_orders(desk, connection, run, [order])


async def give_orders(desk: Desk, connection: Connection, run: str, orders: list[Order]) -> None:
    """Sign and write the commands, wake the run, and say so."""
    ids = await command(connection, desk.signer(), run, orders)
    # an ended run is resumed by the keeper; there is nobody to wake
    woken = orders[0].verb != "resume" and await wake_run(desk, run)
    first = orders[0]
    value: Json = {
        "commands": [*ids],
        "run": run,
        "verb": first.verb,
        "node": first.node,
        "person": desk.person,
        "woken": woken,
    }
    what = f"{first.verb.replace('_', '-')} {run}" + (f" {first.node}" if first.node else "")
    desk.out.give(value, f"{what}: signed by {desk.person}")


async def _override(desk: Desk, run: str, order: Order, given: list[str]) -> None:
    async with desk.database() as connection:
        row = await run_row(connection, run)
        graph = (await graphs.published(connection, row["graph"], row["version"], drafts=True)).graph
        node = graph.nodes.get(order.node or "")
        if node is None:
            raise BadInput(
                f"graph {graph.name!r} has no node {order.node!r}", do=nearest(order.node or "", graph.nodes)
            )
        result = await read_result(connection, row["tenant"], graph, node, given, desk.person)
        await give_orders(desk, connection, run, [replace(order, arguments=result)])
