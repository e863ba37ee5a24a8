"""`vertebra approvals`, `approve`, `deny`: what waits for a person, shown exactly, decided by a signature."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.inputs import read_inputs
from vertebra.cli.options import As, AsJson, Reason
from vertebra.cli.output import span, stamp, table, when
from vertebra.cli.results import pairs_of, tool_of
from vertebra.cli.waking import wake_run
from vertebra.client import approvals, graphs
from vertebra.client.approvals import Approval, Verdict
from vertebra.policies.fields import check_fields
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.schemas.fields import Fields, fields_of
from vertebra.store.pool import Connection
from vertebra.store.transaction import Row
from vertebra.tools.checks import check_arguments

app = typer.Typer(no_args_is_help=True, help="List, show and decide what waits for a person.")
approve_app = typer.Typer()
deny_app = typer.Typer()

Id = Annotated[str, typer.Argument(metavar="APPROVAL", help="Its id, as `vertebra approvals list` shows it.")]
Digest = Annotated[str | None, typer.Option(help="What was shown; another request is then refused.")]
Edit = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="k=v|@FILE|-", help="Other final arguments of the tool; the rest stay as shown."),
]
Form = Annotated[list[str] | None, typer.Option("--answer", metavar="k=v|@FILE|-", help="The answer to a question.")]


@app.command("list", epilog="Example: vertebra approvals list --run customer-support-01J..")
def list_(run: Annotated[str | None, typer.Option(help="Only of this run.")] = None, as_json: AsJson = False) -> None:
    """What waits for a person, oldest first."""
    desk = open_desk(as_json=as_json)
    rows = desk.ask(lambda connection: approvals.pending(connection, run))
    lines = [
        (row["id"], row["kind"], row["run"], row["node"], _who(row), _left(row), row["decided"] or "") for row in rows
    ]
    heads = ("APPROVAL", "KIND", "RUN", "NODE", "WHO", "EXPIRES IN", "DECIDED")
    desk.out.give([_listed(row) for row in rows], table(heads, lines) if rows else "nothing waits for a person")


@app.command(epilog="Example: vertebra approvals show ABCDEFGHIJKLMNOPQRSTUVWXYZ")
def show(approval: Id, as_json: AsJson = False) -> None:
    """Exactly what is to be approved: final arguments, tool pin, digest, who may decide, until when."""
    desk = open_desk(as_json=as_json)
    shown = desk.ask(lambda connection: approvals.approval(connection, approval))
    desk.out.give(_plain(shown), _text(shown))


@app.command(epilog="Example: vertebra approvals decide ABC.. deny --reason 'wrong amount'")
def decide(
    approval: Id,
    verb: Annotated[Literal["approve", "deny"], typer.Argument()],
    digest: Digest = None,
    set_: Edit = None,
    answer: Form = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Approve or deny one request."""
    desk = open_desk(as_json=as_json, named=as_)
    asyncio.run(_decide(desk, approval, Given(verb, digest, set_ or [], answer or [], reason)))


@approve_app.command(epilog="Examples: vertebra approve ABC..; vertebra approve ABC.. --set subject='Your order'")
def approve(
    approval: Id,
    digest: Digest = None,
    set_: Edit = None,
    answer: Form = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Approve one request: the effect then happens with exactly the bytes that were shown, or as edited by --set."""
    desk = open_desk(as_json=as_json, named=as_)
    asyncio.run(_decide(desk, approval, Given("approve", digest, set_ or [], answer or [], reason)))


@deny_app.command(epilog="Example: vertebra deny ABC.. --reason 'wrong customer'")
def deny(
    approval: Id,
    digest: Digest = None,
    answer: Form = None,
    reason: Reason = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Deny one request: the effect does not happen."""
    desk = open_desk(as_json=as_json, named=as_)
    asyncio.run(_decide(desk, approval, Given("deny", digest, [], answer or [], reason)))


@dataclass(frozen=True, slots=True)
class Given:
    """What stood on the command line."""

    verb: Literal["approve", "deny"]
    digest: str | None
    edit: Sequence[str]
    answer: Sequence[str]
    reason: str | None


async def _decide(desk: Desk, approval: str, given: Given) -> None:
    signer = desk.signer()
    async with desk.database() as connection:
        found = await approvals.approval(connection, approval)
        verdict = await _verdict(connection, found, given)
        await approvals.decide(connection, signer, found, verdict)
    woken = await wake_run(desk, found.asked.run)
    value: Json = {
        "approval": approval,
        "verb": verdict.verb,
        "digest": verdict.digest,
        "run": found.asked.run,
        "node": found.node,
        "person": signer.person,
        "woken": woken,
    }
    # a denied call may block its node, so nobody is told that the run goes on
    follows = f"what follows: vertebra show {found.asked.run}"
    then = follows if verdict.verb == "deny" else f"run {found.asked.run} goes on"
    desk.out.give(value, f"{verdict.verb} {approval} by {signer.person}; {then}")


async def _verdict(connection: Connection, found: Approval, given: Given) -> Verdict:
    """What is to be signed, checked against the schema of the tool or form that was published."""
    digest = given.digest or found.asked.digest
    if given.edit:
        arguments = await _edited(connection, found, given.edit)
        return Verdict("edit", digest, arguments, given.reason)
    if found.kind == "human" and given.verb == "approve":
        return Verdict("approve", digest, _answer(found, given.answer), given.reason)
    if given.answer:
        raise BadInput("this request asks no question", at="--answer", do="leave it out, or edit with --set")
    return Verdict(given.verb, digest, None, given.reason)


async def _edited(connection: Connection, found: Approval, edit: Sequence[str]) -> Json:
    if found.tool is None or found.kind != "effect":
        raise BadInput("only the arguments of a tool can be edited", at="--set", do="approve or deny")
    graph = (await graphs.published(connection, found.graph, found.version, drafts=True)).graph
    spec = tool_of(await graphs.pinned(connection, found.tenant, graph.tools[found.tool]))
    shown = found.arguments if isinstance(found.arguments, dict) else {}
    changed = read_inputs(edit, pairs_of(spec.input_schema), at="--set")[0]
    if not isinstance(changed, dict):
        raise BadInput("must be an object", at="--set", do="name the arguments that change: --set k=v")
    arguments: Json = {**shown, **changed}
    check_arguments(spec, arguments)
    return arguments


def _answer(found: Approval, given: Sequence[str]) -> Json:
    fields: Fields = fields_of(found.form) if found.form is not None else {}
    values = read_inputs(given, fields, at="--answer")[0]
    if not fields:
        return values or None
    return check_fields(fields, values, at=f"the answer to {found.asked.id}")


def _who(row: Row) -> str:
    assign, backup = ", ".join(row["assign"]) or "nobody", ", ".join(row["backup"])
    escalated = row["escalate_after"] is not None and row["escalate_after"] <= row["now"]
    return f"{assign}, {backup}" if backup and escalated else assign


def _left(row: Row) -> str:
    until: datetime | None = row["expires_at"]
    if until is None:
        return "never"
    return "expired" if until <= row["now"] else span(until - row["now"])


def _listed(row: Row) -> Json:
    names = ("id", "run", "node", "visit", "kind", "subject", "digest", "graph", "decided")
    times = ("at", "escalate_after", "expires_at")
    return {
        **{name: row[name] for name in names},
        **{name: stamp(row[name]) for name in times},
        "assign": row["assign"],
        "backup": row["backup"],
    }


def _plain(found: Approval) -> Json:
    asked = found.asked
    return {
        "id": asked.id,
        "run": asked.run,
        "graph": found.graph,
        "version": found.version,
        "node": found.node,
        "visit": found.visit,
        "kind": found.kind,
        "subject": found.subject,
        "round": found.round,
        "state": found.state,
        "digest": asked.digest,
        "request": found.request,
        "arguments": found.arguments,
        "assign": list(asked.assign),
        "backup": list(asked.backup),
        "escalate_after": stamp(asked.escalate_after),
        "expires_at": stamp(asked.expires_at),
        "decisions": [
            {"person": row["person"], "verb": row["verb"], "at": stamp(row["at"])} for row in found.decisions
        ],
    }


def _text(found: Approval) -> str:
    asked = found.asked
    backup = ""
    if asked.backup:
        since = "already" if found.escalated else f"from {when(asked.escalate_after)}"
        backup = f"; {since} also {', '.join(asked.backup)}"
    lines = [
        f"approval  {asked.id}  ({found.kind}{' ' + found.subject if found.subject else ''}, round {found.round})",
        f"state     {found.state}",
        f"run       {asked.run}",
        f"asked by  node {found.node!r}, visit {found.visit}, of {found.graph}@{found.version}",
        f"who       {', '.join(asked.assign) or 'nobody'}{backup}",
        f"until     {when(asked.expires_at)}",
        f"digest    {asked.digest}",
    ]
    lines += [f"decided   {row['verb']} by {row['person']} at {when(row['at'])}" for row in found.decisions]
    lines += ["", *_request(found)]
    if found.is_open:
        lines += [
            "",
            f"vertebra approve {asked.id} --digest {asked.digest}",
            f"vertebra deny {asked.id} --reason '...'",
        ]
    return "\n".join(lines)


def _request(found: Approval) -> list[str]:
    if found.tool is not None:
        head = [f"tool      {found.tool}  {found.request.get('tool_pin')}", "arguments"]
        return head + _indented(found.arguments)
    if found.kind == "human":
        asks = ["answer", *_indented(json.loads(found.form))] if found.form is not None else []
        return ["shown", *_indented(found.arguments), *asks]
    if found.request.get("kind") == "http":
        return ["request", *_indented(found.arguments)]
    return ["request", *_indented(found.request)]


def _indented(value: Json) -> list[str]:
    # not splitlines: a text may hold U+2028, and would then write lines of its own
    return ["  " + line for line in json.dumps(value, ensure_ascii=False, indent=2).split("\n")]
