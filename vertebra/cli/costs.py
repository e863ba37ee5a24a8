"""`vertebra costs`: what was spent, what is held, and what nobody knows, from the ledger's own rows."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from vertebra.cli.asking import AsCsv, From, Last, To, csv_text, one_form, time_range
from vertebra.cli.desk import open_desk
from vertebra.cli.options import AsJson
from vertebra.cli.output import money, table
from vertebra.ledger.costs import FIGURES, GROUPS, Cost, costs
from vertebra.schemas.canonical import Json
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.schemas.time_range import TimeRange

app = typer.Typer()
_HEADS = ("SPENT", "TOKENS", "HELD", "HELD TOKENS", "UNKNOWN", "UNKNOWN TOKENS", "ATTEMPTS")


@app.command(epilog="Example: vertebra costs --by agent --last 30d")
def show_costs(
    by: Annotated[str, typer.Option(help=f"One of: {', '.join(GROUPS)}.")] = "graph",
    last: Last = None,
    from_: From = None,
    to: To = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Money and tokens that were spent, that are held for calls in flight, and whose outcome nobody knows.

    Groups add up to the total, and the totals of runs to their books, to the millionth of a dollar.
    """
    desk = open_desk(as_json=one_form(as_json, as_csv))
    times = TimeRange.of(time_range(last, from_, to), datetime.now(UTC))
    groups, total = desk.ask(lambda connection: costs(connection, DEFAULT_TENANT, by, times), "vertebra_reader")
    plain: Json = {"by": by, "groups": [asdict(one) for one in groups], "total": asdict(total)}
    if as_csv:
        rows = [(one.group, *(getattr(one, figure) for figure in FIGURES)) for one in groups]
        desk.out.give(plain, csv_text((by, *FIGURES), rows))
        return
    desk.out.give(plain, table((by.upper(), *_HEADS), [_line(one) for one in (*groups, total)]))


def _line(one: Cost) -> tuple[object, ...]:
    return (one.group, money(one.settled_microusd), one.settled_tokens, money(one.held_microusd), one.held_tokens,
            money(one.unknown_microusd), one.unknown_tokens, one.attempts)  # fmt: skip
