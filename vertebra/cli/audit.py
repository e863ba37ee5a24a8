"""`vertebra audit`: ask and trace what happened, verify that nothing was changed, export it for others."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from vertebra.audit.chain import MacKey
from vertebra.audit.export import export_run, export_tenant, verify_file
from vertebra.audit.keys import audit_keys
from vertebra.audit.read import verify_run, verify_tenant
from vertebra.audit.remembered import load_heads, save_heads
from vertebra.audit.trace import trace as traced
from vertebra.audit.verify import Report
from vertebra.cli import asking
from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.endings import FAILED
from vertebra.cli.options import AsJson
from vertebra.cli.output import money, table
from vertebra.client.commands import run_row
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput, Conflict, NotFound, SettingsError
from vertebra.schemas.ids import DEFAULT_TENANT, RunId
from vertebra.settings import STATE_FOLDER, Role

app = typer.Typer(no_args_is_help=True, help="Query, add up, trace, verify and export the audit.")
app.command(epilog="Example: vertebra audit query --operation llm_call --failure --last 1h")(asking.query)
app.command(epilog="Example: vertebra audit aggregate llm_cost --by agent_id --last 30d")(asking.aggregate)
_HEADS = "audit-heads.jsonl"
_READER: Role = "vertebra_reader"


@app.command(epilog="Example: vertebra audit trace customer-support-01J..")
def trace(
    correlation_id: Annotated[str, typer.Argument(metavar="ID", help="A correlation id; of a first run, its own id.")],
    as_json: AsJson = False,
) -> None:
    """Everything that happened under one correlation id, over all its runs, in the order of time."""
    desk = open_desk(as_json=as_json)
    items = desk.ask(lambda connection: traced(connection, DEFAULT_TENANT, correlation_id), _READER)
    if not items:
        raise NotFound(f"nothing is on record under {correlation_id!r}", do="list runs with: vertebra runs list")
    plain: Json = [{"stream": one.stream, "seq": one.seq, "entry": one.entry.model_dump(mode="json")} for one in items]
    lines = [
        (one.entry.time, one.seq, one.entry.operation, one.entry.phase, one.entry.activity or one.entry.node or "",
         one.entry.outcome or "", one.entry.actor, money(one.entry.cost_microusd), one.entry.error or "")
        for one in items
    ]  # fmt: skip
    heads = ("TIME", "SEQ", "OPERATION", "PHASE", "WHERE", "OUTCOME", "ACTOR", "COST", "ERROR")
    desk.out.give(plain, table(heads, lines))


@app.command(epilog="Examples: vertebra audit verify; vertebra audit verify --file audit.jsonl")
def verify(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only this run; else everything.")] = None,
    file: Annotated[Path | None, typer.Option(help="An export, instead of the database.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every entry against its hash, its chain, its head and, where the audit key is here, its MAC."""
    desk = open_desk(as_json=as_json)
    keys = _keys(desk)
    remembered = desk.settings.project / STATE_FOLDER / _HEADS
    if file is not None:
        if not file.is_file():
            raise BadInput("there is no such file", at=file)
        report = verify_file(file, keys)
    else:
        report = asyncio.run(_verify(desk, run, keys, remembered))
    findings: list[Json] = [{"stream": one.stream, "seq": one.seq, "what": one.what} for one in report.findings]
    plain: Json = {
        "ok": report.ok,
        "streams": report.streams,
        "entries": report.entries,
        "macs_checked": report.macs_checked,
        "findings": findings,
    }
    desk.out.give(plain, _told(report))
    if not report.ok:
        raise typer.Exit(FAILED)


@app.command(epilog="Example: vertebra audit export --out audit.jsonl")
def export(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only this run; else everything.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new file; else standard output.")] = None,
    as_json: AsJson = False,
) -> None:
    """The audit as JSON lines, which `vertebra audit verify --file` and a stranger's own program can check."""
    if as_json and out is None:
        raise BadInput("lines are no JSON document", at="--json", do="name a file for them: --out audit.jsonl")
    if out is not None and out.exists():
        raise Conflict("there is such a file already", at=out, do="choose another name")
    if out is not None and not out.parent.is_dir():
        raise BadInput("there is no such folder", at=out.parent, do="make it, or choose another place for --out")
    desk = open_desk(as_json=as_json)
    if out is None:
        asyncio.run(_export(desk, run, None))
        return
    lines = asyncio.run(_export(desk, run, out))
    desk.out.give({"file": str(out), "lines": lines}, f"{lines} lines in {out}")


async def _verify(desk: Desk, run: str | None, keys: Mapping[str, MacKey] | None, remembered: Path) -> Report:
    known = load_heads(remembered)
    async with desk.database(_READER) as connection:
        if run is not None:
            await run_row(connection, run)
            report = await verify_run(connection, RunId(run), keys, known)
        else:
            report = await verify_tenant(connection, DEFAULT_TENANT, keys, known)
    if report.ok and remembered.parent.is_dir():
        save_heads(remembered, report.heads)
    return report


async def _export(desk: Desk, run: str | None, out: Path | None) -> int:
    count = 0
    async with desk.database(_READER) as connection:
        if run is not None:
            await run_row(connection, run)
        lines = export_tenant(connection, DEFAULT_TENANT) if run is None else export_run(connection, RunId(run))
        # opened in the loop: one short-lived command has nothing else to do meanwhile
        target = sys.stdout if out is None else out.open("x", encoding="utf-8")
        try:
            async for line in lines:
                target.write(line + "\n")
                count += 1
        finally:
            if out is not None:
                target.close()
    return count


def _keys(desk: Desk) -> Mapping[str, MacKey] | None:
    """The audit keys, where this machine holds them; without them the MACs are not checked."""
    try:
        return audit_keys(desk.settings.keys).known
    except SettingsError as error:
        desk.out.say(f"the MACs are not checked: {error}")
        return None


def _told(report: Report) -> str:
    macs = "hashes, chains, heads and MACs" if report.macs_checked else "hashes, chains and heads, not the MACs"
    lines = [str(finding) for finding in report.findings]
    verdict = "nothing was changed" if report.ok else f"{len(lines)} finding{'s' if len(lines) > 1 else ''}"
    return "\n".join([*lines, f"{report.entries} entries of {report.streams} streams, {macs} checked: {verdict}"])
