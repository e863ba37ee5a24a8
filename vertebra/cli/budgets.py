"""`vertebra budgets`: what a run has spent and holds, and raising its limit."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.durations import microusd
from vertebra.cli.operate import give_orders
from vertebra.cli.options import As, AsJson, Reason, RunArgument
from vertebra.cli.output import money, table
from vertebra.client.commands import Order, run_row
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.schemas.run import MAX_TOP_UP
from vertebra.store.transaction import Row

app = typer.Typer(no_args_is_help=True, help="Show and raise what a run may spend.")


@app.command(epilog="Example: vertebra budgets show customer-support-01J..")
def show(run: RunArgument, as_json: AsJson = False) -> None:
    """Limit, spent, held and left, in money and tokens."""
    desk = open_desk(as_json=as_json)
    row = desk.ask(lambda connection: run_row(connection, run))
    left = [_left(row, unit) for unit in ("microusd", "tokens")]
    lines = [
        ("money", *(money(row[f"{name}_microusd"]) for name in ("limit", "spent", "held")), money(left[0])),
        ("tokens", *(row[f"{name}_tokens"] for name in ("limit", "spent", "held")), left[1]),
    ]
    plain: dict[str, Json] = {"run": run, "on_breach": row["on_breach"]}
    for unit, rest in zip(("microusd", "tokens"), left, strict=True):
        plain |= {f"{name}_{unit}": row[f"{name}_{unit}"] for name in ("limit", "spent", "held")} | {
            f"left_{unit}": rest
        }
    desk.out.give(plain, table(("", "LIMIT", "SPENT", "HELD", "LEFT"), lines) + f"\non breach: {row['on_breach']}")


@app.command("top-up", epilog="Example: vertebra budgets top-up customer-support-01J.. --usd 0.50 --tokens 20000")
def top_up(
    run: RunArgument,
    usd: Annotated[str | None, typer.Option(help="Dollars to add to the limit.")] = None,
    tokens: Annotated[int, typer.Option(min=0, max=MAX_TOP_UP, help="Tokens to add to the limit.")] = 0,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Raise the limits of a run; a run that waits for money goes on."""
    if usd is None and not tokens:
        raise BadInput("nothing to add", do="say --usd or --tokens")
    desk = open_desk(as_json=as_json, named=as_)
    amounts: Json = {"microusd": 0 if usd is None else microusd(usd), "tokens": tokens}
    asyncio.run(_top_up(desk, run, Order("top_up", arguments=amounts, reason=reason)))


async def _top_up(desk: Desk, run: str, order: Order) -> None:
    async with desk.database() as connection:
        await give_orders(desk, connection, run, [order])


def _left(row: Row, unit: str) -> int | None:
    limit: int | None = row[f"limit_{unit}"]
    return None if limit is None else limit - row[f"spent_{unit}"] - row[f"held_{unit}"]
