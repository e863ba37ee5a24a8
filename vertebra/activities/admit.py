"""The one door: the first recorded step of every run. It lets a start in, once, or refuses it for good."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vertebra.activities import entries
from vertebra.activities.world import World
from vertebra.audit.append import append_query
from vertebra.audit.chain import opened as opened_stream
from vertebra.policies.decision import Person, Signed, author_of
from vertebra.policies.fields import check_fields
from vertebra.policies.narrow import narrow
from vertebra.policies.seal import ContextFields, seal_context
from vertebra.policies.signature import CLOCK_SKEW, check_times
from vertebra.schemas.audit import Entry
from vertebra.schemas.canonical import Json, digest_of, json_text
from vertebra.schemas.context import Grant
from vertebra.schemas.envelope import Envelope
from vertebra.schemas.errors import (
    AuditRefused,
    BadInput,
    BadJson,
    BadSignature,
    GraphError,
    PolicyError,
    StartRefused,
    TamperedRow,
)
from vertebra.schemas.fields import fields_of
from vertebra.schemas.graph import CompiledGraph, parse_graph
from vertebra.schemas.ids import DEFAULT_TENANT, GRAPH_NAME, RUN_ID, derive
from vertebra.schemas.run import Admission, AdmitInput, MarkedStart, Past
from vertebra.schemas.signed import instant, moment
from vertebra.schemas.strict_json import read_json
from vertebra.store.people import people_of, signed_of, signers_query
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, once

MAX_INPUT_BYTES = 1_000_000
STARTERS = ("starter", "operator", "admin")
PUBLISHERS = ("author", "admin")


@dataclass(frozen=True, slots=True)
class Start:
    """A start that was read, and what it wants to run."""

    run: str
    given: AdmitInput
    text: str
    """The input's JSON text."""
    marked: MarkedStart | None
    graph: CompiledGraph
    tenant: str
    now: datetime


async def admit(given: AdmitInput, run: str, world: World) -> Admission:
    """Let the run in, again if this is the same run.

    Raises StartRefused, BadInput, TamperedRow (final, on record) and StoreError.
    """
    try:
        return await _admit(given, run, world)
    except (GraphError, PolicyError, TamperedRow) as refused:
        entry = entries.event(
            world,
            "run_refused",
            "admit",
            outcome="denied",
            success=False,
            error=str(refused),
            id=run,
            graph=given.graph,
        )
        await entries.tell_admin(world, DEFAULT_TENANT, [entry])
        raise


async def _admit(given: AdmitInput, run: str, world: World) -> Admission:
    if RUN_ID.fullmatch(run) is None:
        raise StartRefused(f"{run!r} is no run id", do="use 1 to 200 of the characters A-Z a-z 0-9 . _ -")
    if given.refused is not None:
        raise StartRefused(given.refused)
    if GRAPH_NAME.fullmatch(given.graph) is None:
        raise StartRefused(f"{given.graph[:80]!r} is no name of a graph")
    marked = _marked(given)
    rows, graphs = await once(world.pool, [_run_row(run), _newest_graph(given, marked, world)])
    if rows:
        return await _again(given, rows[0], world)
    if given.continued or given.snapshot is not None:
        raise StartRefused(f"run {run!r} was never admitted, so nothing of it can be continued")
    row = _published(given, marked, graphs)
    start = _start(given, run, marked, row)
    ticket = _ticket(start)
    people = await _people(start, [signed_of(row), *([ticket] if ticket else [])], world)
    _check_publisher(row, people)
    person = _bare(start, people) if ticket is None else _ticketed(start, ticket, people)
    values = _checked(start)
    claimed = await _claim(start, person, values, world)
    if not claimed:
        [rows] = await once(world.pool, [_run_row(run)])
        return await _again(given, rows[0], world)
    return _admission(start, values)


async def _again(given: AdmitInput, row: Row, world: World) -> Admission:
    """A repeat, reset or continuation of an open run's own chain, or the start that its `resume` command asks for."""
    run = row["id"]
    # a workflow task that ended the run may be lost and played again from here, in the very same execution
    replayed = (row["chain"], row["execution_id"]) == (given.chain, given.execution)
    if row["ended_at"] is not None and not replayed:
        raise StartRefused(f"run {run!r} has ended", do=f"go on with it by: vertebra resume {run}")
    if row["chain"] != given.chain:
        marked = _marked(given)
        if marked is None or marked.resume is None or marked.resume != row["resume_command"]:
            raise StartRefused(f"run id {run!r} is taken", do="start under another id")
        params = {"run": run, "command": marked.resume, "chain": given.chain, "execution_id": given.execution}
        await once(world.pool, [Query("take_chain", named("steps", "take_chain"), params)])
    graph = await world.graph(row["graph_digest"])
    execution = {"run": run, "execution_id": given.execution}
    [contexts, settled, _] = await once(
        world.pool,
        [
            Query("run_contexts", named("steps", "run_contexts"), {"run": run}),
            Query("settled", named("steps", "settled"), {"run": run}),
            Query("touch_execution", named("steps", "touch_execution"), execution),
        ],
    )
    snapshot: Json = None
    if given.snapshot is not None:
        snapshot = json.loads(await world.artifacts.get(row["tenant"], given.snapshot.sha256))
    return Admission(
        run=run,
        tenant=row["tenant"],
        graph=graph.canonical.decode(),
        graph_digest=row["graph_digest"],
        input=None if given.continued else json.loads(bytes(row["input"])),
        epoch=row["epoch"],
        contexts={context["agent"]: context["id"] for context in contexts},
        snapshot=snapshot,
        past=() if given.continued else tuple(_past(row) for row in settled),
    )


def _past(row: Row) -> Past:
    """What a join decided, or when a wait ends, from its plan envelope."""
    found = Envelope.model_validate_json(bytes(row["body"])).inline
    assert isinstance(found, dict)
    if "wait" in found:
        return Past.model_validate({"node": row["node"], "visit": row["visit"], "until": found["wait"]})
    return Past.model_validate(
        {"node": row["node"], "visit": row["visit"], "won": found["won"], "lost": found["cancelled"]}
    )


def _published(given: AdmitInput, marked: MarkedStart | None, graphs: list[Row]) -> Row:
    """The published graph that this start means."""
    if not graphs:
        version = f" version {marked.version}" if marked and marked.version else ""
        raise StartRefused(f"no graph {given.graph!r}{version} is published", do="vertebra publish FILE")
    if digest_of(bytes(graphs[0]["bytes"])) != graphs[0]["digest"]:
        raise TamperedRow(f"the graph {given.graph!r} was changed in the database")
    return graphs[0]


def _start(given: AdmitInput, run: str, marked: MarkedStart | None, row: Row) -> Start:
    text = given.text if marked is None else marked.input or "{}"
    return Start(run, given, text, marked, parse_graph(bytes(row["bytes"]).decode()), row["tenant"], row["now"])


def _check_publisher(row: Row, people: Sequence[Person]) -> None:
    try:
        statement, person = author_of(signed_of(row), "publish", people)
        if statement.digest != row["digest"] or statement.id != f"{row['name']}@{row['version']}":
            raise BadSignature("the publication was signed for another graph")
        check_times(statement, row["at"])
        if row["at"] - moment(statement.at) > CLOCK_SKEW:
            raise BadSignature("it was made current without a new signature", do="publish it again")
    except PolicyError as error:
        raise StartRefused(f"graph {row['name']!r} was not published by an author: {error}") from error
    if not set(person.roles) & set(PUBLISHERS):
        raise StartRefused(f"graph {row['name']!r} was published by {person.name!r}, who is no author")


def _bare(start: Start, people: Sequence[Person]) -> Person:
    """Whom a start without a ticket acts for: the service principal that the graph names."""
    name = start.graph.principal
    if name is None:
        raise StartRefused(
            f"graph {start.graph.name!r} names no principal, so a start needs a ticket", do="start it by: vertebra run"
        )
    person = next((person for person in people if person.name == name), None)
    if person is None or person.revoked_at is not None:
        raise StartRefused(
            f"{name!r}, whom graph {start.graph.name!r} names, is not enrolled", do="vertebra people add"
        )
    return _starter(person)


def _ticketed(start: Start, ticket: Signed, people: Sequence[Person]) -> Person:
    """Whom a start acts for whose ticket counts: who signed it."""
    try:
        statement, person = author_of(ticket, "start", people)
        check_times(statement, start.now)
        if statement.expires_at is None:
            raise BadSignature("it has no end, so whoever finds it could start the run at any time")
    except PolicyError as error:
        raise StartRefused(f"the start ticket does not count: {error}") from error
    wanted = (start.run, start.graph.digest, digest_of(start.text.encode()))
    for name, has, wants in zip(
        ("run id", "graph", "input"), (statement.id, statement.digest, statement.arguments_digest), wanted, strict=True
    ):
        if has != wants:
            raise StartRefused(f"the start ticket is for another {name}", do="sign a new one: vertebra run")
    return _starter(person)


def _starter(person: Person) -> Person:
    if not set(person.roles) & set(STARTERS):
        raise StartRefused(f"{person.name!r} may not start runs; it needs the role 'starter'")
    return person


async def _people(start: Start, signed: Sequence[Signed], world: World) -> tuple[Person, ...]:
    """The holders of the keys, whom the statements name, and whom the graph names."""
    principal = [] if start.graph.principal is None else [start.graph.principal]
    [rows] = await once(world.pool, [signers_query(signed, principal)])
    return people_of(rows)


def _ticket(start: Start) -> Signed | None:
    ticket = start.marked.ticket if start.marked else None
    if ticket is None:
        return None
    try:
        assert isinstance(ticket, dict)
        statement, signature = str(ticket["statement"]), bytes.fromhex(str(ticket["signature"]))
        plain = read_json(statement)
        assert isinstance(plain, dict)
        key = str(plain["key"])
    except (AssertionError, BadJson, KeyError, TypeError, ValueError):
        raise StartRefused("the start ticket cannot be read", do="sign a new one: vertebra run") from None
    return Signed(statement.encode(), signature, key, start.now)


def _marked(given: AdmitInput) -> MarkedStart | None:
    if not given.marked:
        return None
    try:
        return MarkedStart.model_validate(read_json(given.text, max_bytes=4 * MAX_INPUT_BYTES))
    except ValueError:
        raise StartRefused("the marked start has a field of a wrong type") from None


def _checked(start: Start) -> dict[str, Json]:
    at = f"input of {start.graph.name}"
    given = read_json(start.text, max_bytes=MAX_INPUT_BYTES)
    values = check_fields(fields_of(start.graph.input_json), given, at=at)
    # numbers may be written longer than they came, and defaults come on top; what is recorded must fit history
    if len(json_text(values).encode()) > MAX_INPUT_BYTES:
        raise BadInput(f"written out it is larger than {MAX_INPUT_BYTES} bytes", at=at)
    return values


async def _claim(start: Start, person: Person, values: dict[str, Json], world: World) -> bool:
    """Claim the id, seal the contexts and write the first entries, in one transaction. False: somebody was faster."""
    graph = start.graph
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    budget = graph.spine.budget
    row = {
        "tenant": start.tenant,
        "id": start.run,
        "chain": start.given.chain,
        "execution_id": start.given.execution,
        "graph": graph.name,
        "version": graph.version,
        "graph_digest": graph.digest,
        "correlation_id": start.run,
        "principal": person.name,
        "started_by": person.name if start.marked and start.marked.ticket else "temporal",
        "input": text.encode(),
        "input_digest": digest_of(start.text.encode()),
        "limit_microusd": budget.microusd if budget else None,
        "limit_tokens": budget.tokens if budget else None,
        "on_breach": budget.on_breach if budget else "reject",
    }
    sealed = _contexts(start, world)
    told = [
        entries.event(
            world,
            "run_start",
            person.name,
            run=row,
            content=text,
            spine=graph.name,
            version=graph.version,
            digest=graph.digest,
        ),
        *(_granted(query, row, world) for query in sealed),
    ]
    # a claimed run's stream is open and empty; where somebody was faster it is not, and nothing of this happens
    first = append_query(told, opened_stream(start.run), world.audit_key)
    try:
        await once(world.pool, [Query("claim_run", named("steps", "claim_run"), row), *sealed, first])
    except AuditRefused as refused:
        if not refused.head_moved:
            raise
        return False
    return True


def _granted(query: Query, row: Row, world: World) -> Entry:
    context, agent = str(query.params["id"]), str(query.params["agent"])
    return entries.event(world, "context_granted", "admit", run=row, context=context, agent=agent)


def _contexts(start: Start, world: World) -> list[Query]:
    """The spine's own context, and below it one per agent, narrowed to the agent's model and tools."""
    graph, spine = start.graph, start.graph.spine
    root = Grant(permissions=spine.permissions, tools=spine.tools, models=spine.models)
    lifetime = spine.expires_in_s
    expires = None if lifetime is None else start.now + timedelta(seconds=lifetime)
    query, root_id, seal = _context(start, None, "", root, 0, expires, world)
    found = [query]
    for name, agent in sorted(graph.agents.items()):
        wanted = Grant(permissions=spine.permissions, tools=agent.tools, models=(agent.model.name,))
        child = _context(start, (root_id, seal), name, narrow(root, wanted), 1, expires, world)
        found.append(child[0])
    return found


def _context(
    start: Start,
    parent: tuple[str, bytes] | None,
    agent: str,
    grant: Grant,
    depth: int,
    expires: datetime | None,
    world: World,
) -> tuple[Query, str, bytes]:
    parent_id, parent_seal = parent or (None, None)
    fields = ContextFields(
        id=_context_id(start.run, agent),
        tenant=start.tenant,
        run=start.run,
        parent=parent_id,
        agent=agent,
        grant=grant.model_dump_json().encode(),
        depth=depth,
        expires_at=None if expires is None else instant(expires),
    )
    seal = seal_context(fields, parent_seal, world.seal_key)
    row = {
        "tenant": fields.tenant,
        "id": fields.id,
        "parent": parent_id,
        "run": fields.run,
        "agent": agent,
        "grant": fields.grant,
        "depth": depth,
        "expires_at": expires,
        "key_id": world.seal_key.id,
        "seal": seal,
    }
    return Query("put_context", named("steps", "put_context"), row), fields.id, seal


def _context_id(run: str, agent: str) -> str:
    return derive(run, agent, "", "context")


def _admission(start: Start, values: dict[str, Json]) -> Admission:
    return Admission(
        run=start.run,
        tenant=start.tenant,
        graph=start.graph.canonical.decode(),
        graph_digest=start.graph.digest,
        input=values,
        contexts={name: _context_id(start.run, name) for name in ("", *start.graph.agents)},
    )


def _newest_graph(given: AdmitInput, marked: MarkedStart | None, world: World) -> Query:
    params = {"name": given.graph, "version": marked.version if marked else None, "drafts": world.drafts}
    return Query("newest_graph", named("steps", "newest_graph"), params)


def _run_row(run: str) -> Query:
    return Query("run_row", named("steps", "run_row"), {"run": run})
