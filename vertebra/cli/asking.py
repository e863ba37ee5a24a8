"""`vertebra audit query` and `vertebra audit aggregate`: what the audit answers, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from vertebra.audit import Audit
from vertebra.audit.aggregate import GROUPS, METRICS
from vertebra.audit.query import MOST, Page
from vertebra.audit.trace import Traced
from vertebra.cli.desk import open_desk
from vertebra.cli.options import AsJson
from vertebra.cli.output import money, table
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.settings import Role

_READER: Role = "vertebra_reader"
_COLUMNS = (
    *("time", "operation", "phase", "outcome", "success", "actor", "agent", "run", "node", "visit", "activity"),
    *("duration_ms", "cost_microusd", "tokens", "correlation_id", "error"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Last = Annotated[str | None, typer.Option(metavar="LENGTH", help="Only the time until now: 90s, 30m, 8h, 7d, 4w.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Only from this time on; UTC, or with an offset.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only before this time.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Comma-separated values with a line of names.")]


def query(
    operation: Annotated[str | None, typer.Option("--operation", help="Such as llm_call, approval_decided.")] = None,
    success: Annotated[
        bool | None, typer.Option("--success/--failure", help="Only what worked, or what did not.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    node: Annotated[str | None, typer.Option(help="Only of this node.")] = None,
    run: Annotated[str | None, typer.Option(help="Only of this run.")] = None,
    correlation: Annotated[str | None, typer.Option(help="Only under this correlation id.")] = None,
    last: Last = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many on a page.")] = 100,
    after: Annotated[str | None, typer.Option(metavar="PLACE", help="Go on where the page before ended.")] = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """The entries that fit all that is asked, newest first, page by page."""
    desk = open_desk(as_json=one_form(as_json, as_csv))
    page = desk.ask(
        lambda connection: Audit(connection).query(
            operation_type=operation, success=success, agent_id=agent, node=node, run=run, correlation_id=correlation,
            time_range=time_range(last, from_, to), limit=limit, after=after,
        ),
        _READER,
    )  # fmt: skip
    plain: Json = {"entries": [_plain(one) for one in page.entries], "next": page.next}
    desk.out.give(plain, _as_csv(page) if as_csv else _as_table(page))
    if page.next is not None and not as_json:
        desk.out.say(f"there are more: --after '{page.next}'")


def aggregate(
    metric: Annotated[str, typer.Argument(metavar="METRIC", help=f"One of: {', '.join(METRICS)}.")],
    by: Annotated[str, typer.Option(help=f"One of: {', '.join(GROUPS)}.")] = "total",
    last: Last = None,
    from_: From = None,
    to: To = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """One exact number for each group, the largest first."""
    desk = open_desk(as_json=one_form(as_json, as_csv))
    times = time_range(last, from_, to)
    sums = desk.ask(
        lambda connection: Audit(connection).aggregate(metric=metric, group_by=by, time_range=times), _READER
    )
    unit = METRICS[metric].unit
    plain: Json = {
        "metric": metric,
        "unit": unit,
        "by": by,
        "groups": [{"group": s.group, "value": s.value} for s in sums],
    }
    if as_csv:
        desk.out.give(plain, csv_text((by, metric), [(one.group, one.value) for one in sums]))
        return
    shown = [(one.group or "-", money(one.value) if unit == "micro-USD" else one.value) for one in sums]
    head = metric if unit in ("", "micro-USD", metric) else f"{metric} ({unit})"
    desk.out.give(plain, table((by.upper(), head.upper()), shown))


def time_range(last: str | None, from_: str | None, to: str | None) -> dict[str, str]:
    """The options as one time range."""
    given = {"last": last, "from": from_, "to": to}
    return {name: value for name, value in given.items() if value is not None}


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines for a spreadsheet; what one would take for a formula is written so that it stays text."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return target.getvalue().rstrip("\n")


def _cell(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def one_form(as_json: bool, as_csv: bool) -> bool:
    """Whether the answer is JSON. Raises BadInput where it should be two things."""
    if as_json and as_csv:
        raise BadInput("one answer has one form", at="--csv", do="leave out --json or --csv")
    return as_json


def _plain(one: Traced) -> Json:
    return {"stream": one.stream, "seq": one.seq, "entry": one.entry.model_dump(mode="json")}


def _as_csv(page: Page) -> str:
    rows = [(one.stream, one.seq, *(getattr(one.entry, name) for name in _COLUMNS)) for one in page.entries]
    return csv_text(("stream", "seq", *_COLUMNS), rows)


def _as_table(page: Page) -> str:
    heads = ("TIME", "OPERATION", "PHASE", "OUTCOME", "RUN", "WHERE", "AGENT", "ACTOR", "COST", "ERROR")
    lines = [
        (one.entry.time, one.entry.operation, one.entry.phase, one.entry.outcome or "", one.entry.run or "",
         one.entry.activity or one.entry.node or "", one.entry.agent or "", one.entry.actor,
         money(one.entry.cost_microusd), _line(one.entry.error))
        for one in page.entries
    ]  # fmt: skip
    return table(heads, lines)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
