"""Look for the standing answer of everything that a run waits for. Every signed row is verified here, and recorded.

The answers do not depend on what was read before: a lost workflow task, a reset or a continued run gets them again.
What a command changes (a limit, a renewal, an opened call) it changes once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from vertebra.activities import entries, orders, sent
from vertebra.activities.orders import whole
from vertebra.activities.sent import Events, taken_of
from vertebra.activities.world import World
from vertebra.ledger.books import head_query
from vertebra.policies.decision import Person, check_answer, check_decision
from vertebra.schemas.audit import Entry
from vertebra.schemas.errors import ApprovalClosed, NotFound, PermissionDenied, PolicyError
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import RunId
from vertebra.schemas.run import MAX_EVENTS, MAX_EVENTS_BYTES, Answer, Ask, Loaded, LoadInput
from vertebra.store.people import arguments_of, asked_of, check_row, people_of, signed_of
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, Transaction, transaction

UNKNOWN = "UnknownOutcome"
LATE = "the outcome came late"
ANSWERED = {"approve": "approved", "edit": "edited", "deny": "denied"}


@dataclass(slots=True)
class Found:
    """What one look brought, and what it is going to write."""

    run: Row
    graph: CompiledGraph
    answers: list[Answer] = field(default_factory=list)
    writes: list[Query] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)
    ended: Row | None = None


async def load(given: LoadInput, run: str, execution: str, world: World) -> Loaded:
    """Write down what waits, apply what was signed, and answer. Raises NotFound, PermissionDenied, StoreError."""
    async with transaction(world.pool, "load") as opened:
        rows = await opened.trip(_reads(given, run))
        heads, pinned, approvals, decisions, commands, people, events, lives, pending, answered, taken = rows
        if not heads:
            raise NotFound(f"no run {run!r} was admitted")
        await _check_open(heads[0], execution, opened)
        known = people_of(people)
        graph = await world.graph(pinned[0]["graph_digest"])
        found = Found(heads[0], graph)
        ordered = orders.judged([*commands, *events], known, heads[0], world)
        valid = ordered.valid
        found.writes += ordered.writes
        found.told += ordered.told
        found.ended = next((row for row in valid if _ends(row, heads[0])), None)
        inbox = Events(heads[0], graph, [row for row in valid if row["verb"] == "event"], taken_of(taken))
        inbox.put_aside(world)
        for ask in given.asks:
            if ask.kind == "event":
                _came(inbox.answer(ask, world), found)
            else:
                _answer(ask, approvals, decisions, valid, lives, known, found, world)
        found.writes += inbox.writes
        found.told += inbox.told
        _arrived(given, answered, found)
        envelopes, told = await entries.notes(opened, given.notes, heads[0], graph, world)
        told += found.told
        refs = _refs(decisions, [*commands, *events], answered)
        looked = Query("done_wake", named("steps", "done_wake"), {"run": run, "refs": refs})
        writes = [*envelopes, *found.writes, *_waits(given, approvals, found), looked]
        writes += entries.append(heads[0], told, world)
        written = await opened.commit(writes)
    orders.tell_received(world, writes, written)
    full = orders.is_full(commands) or orders.is_full(decisions) or orders.is_full(events, MAX_EVENTS, MAX_EVENTS_BYTES)
    return _loaded(found, pending, more=full)


async def _check_open(run: Row, execution: str, opened: Transaction) -> None:
    """Raise PermissionDenied for an execution that other hands have made of an ended run: it would wait for ever.

    The one that ended the run may play its last task again.
    """
    if run["ended_at"] is None:
        return
    [[row]] = await opened.trip([Query("run_row", named("steps", "run_row"), {"run": run["id"]})])
    if row["execution_id"] != execution:
        raise PermissionDenied(f"run {run['id']!r} has ended", do=f"go on with it by: vertebra resume {run['id']}")


def _reads(given: LoadInput, run: str) -> list[Query]:
    ids = [ask.ref for ask in given.asks if ask.kind == "approval"]
    of_run = {"run": run}
    return [
        head_query(RunId(run)),
        Query("run_pins", named("gate", "run_pins"), of_run),
        Query("asked_approvals", named("steps", "asked_approvals"), {"ids": ids}),
        Query("asked_decisions", named("steps", "asked_decisions"), {"ids": ids, **orders.BOUND}),
        *orders.reads(run, given.asks),
        sent.reads(run, given.asks),
        Query("context_lives", named("steps", "context_lives"), of_run),
        Query("open_approvals", named("steps", "open_approvals"), of_run),
        Query("answered_calls", named("steps", "answered_calls"), {"run": run, "activity_ids": _doubtful(given)}),
        Query("taken_events", named("steps", "taken_events"), of_run),
    ]


def _came(answer: Answer | None, found: Found) -> None:
    if answer is not None:
        found.answers.append(answer)


def _ends(row: Row, run: Row) -> bool:
    """An abort or cancel of this life of the run; a resumed run does not obey the one that it died of."""
    return row["verb"] in ("abort", "cancel") and bool(row["epoch"] == run["epoch"])


def _answer(
    ask: Ask,
    approvals: Sequence[Row],
    decisions: Sequence[Row],
    commands: Sequence[Row],
    lives: Sequence[Row],
    people: Sequence[Person],
    found: Found,
    world: World,
) -> None:
    match ask.kind:
        case "approval":
            for row in approvals:
                if row["id"] == ask.ref:
                    mine = [decision for decision in decisions if decision["approval"] == ask.ref]
                    _decided(row, mine, people, found, world)
        case "top_up":
            if _limits(found.run, commands) != ask.ref.split("/")[1:]:
                by = next((row["person"] for row in reversed(commands) if row["verb"] == "top_up"), None)
                found.answers.append(Answer(ref=ask.ref, verb="top_up", by=by))
        case "renewal":
            renewed = [row for row in commands if row["verb"] == "renew"]
            if _lives(ask.ref, lives) or any(row["applied_at"] is None for row in renewed):
                found.answers.append(Answer(ref=ask.ref, verb="renew", by=renewed[-1]["person"] if renewed else None))
        case "blocked":
            _unblocked(ask, commands, found)


def _decided(row: Row, decisions: Sequence[Row], people: Sequence[Person], found: Found, world: World) -> None:
    """The first decision that counts, now or before; an approval that nobody decided in time has expired."""
    form = found.graph.nodes[row["node"]].form_json if row["kind"] == "human" else None
    for decision in decisions:
        try:
            statement = check_decision(asked_of(row), signed_of(decision), people)
            check_row(statement, decision)
            answer = check_answer(form, decision["verb"], arguments_of(decision))
        except PolicyError as error:
            if decision["consumed_at"] is None:
                found.writes.append(_consumed(decision))
                found.told.append(_refused(world, found, decision, error, row))
            continue
        if row["state"] == "pending":
            _close_approval(row, decision, found, world)
        if row["state"] in ("pending", ANSWERED[decision["verb"]]):
            found.answers.append(_of_decision(row, decision, answer))
            return
    if row["state"] == "expired" or (row["state"] == "pending" and row["expires_at"] <= row["now"]):
        if row["state"] == "pending":
            found.writes.append(Query("expire_approval", named("gate", "expire_approval"), {"id": row["id"]}))
            found.told.append(
                entries.event(world, "approval_expired", "engine", run=found.run, node=row["node"],
                              visit=row["visit"], success=False, approval=row["id"])
            )  # fmt: skip
        found.answers.append(Answer(ref=row["id"], verb="expired", reason="nobody decided in time"))
    elif row["state"] == "withdrawn":
        found.answers.append(Answer(ref=row["id"], verb="withdrawn"))


def _close_approval(row: Row, decision: Row, found: Found, world: World) -> None:
    state = ANSWERED[decision["verb"]]
    params = {"id": row["id"], "state": state, "at": decision["at"]}
    found.writes.append(Query("decide_approval", named("steps", "decide_approval"), params))
    found.writes.append(_consumed(decision))
    found.told.append(
        entries.event(
            world,
            "approval_decided",
            decision["person"],
            run=found.run,
            node=row["node"],
            visit=row["visit"],
            outcome=state,
            success=decision["verb"] != "deny",
            content=bytes(decision["arguments"]).decode() if decision["arguments"] is not None else None,
            approval=row["id"],
            digest=row["digest"],
            reason=decision["reason"],
        )
    )


def _of_decision(row: Row, decision: Row, answer: JsonValue) -> Answer:
    return Answer(
        ref=row["id"],
        verb=decision["verb"],
        by=decision["person"],
        reason=decision["reason"],
        arguments=answer,
    )


def _unblocked(ask: Ask, commands: Sequence[Row], found: Found) -> None:
    """The newest `skip` or `override` stands for good, unless it was tried in vain; a `retry` answers its one round."""
    mine = [row for row in commands if (row["node"], row["visit"]) == (ask.node, ask.visit)]
    standing = [row for row in mine if row["verb"] in ("skip", "override")]
    if standing and standing[-1]["id"] != ask.tried:
        if standing[-1]["applied_at"] is None:
            found.writes.append(orders.apply_query(standing[-1]))
        found.answers.append(_of_command(ask, standing[-1]))
        return
    rounds = [row for row in mine if row["verb"] == "retry" and whole(arguments_of(row), "round") == ask.round]
    if not rounds:
        return
    if all(row["applied_at"] is None for row in rounds):  # a second one for the same block opens nothing
        params = {"run": found.run["id"], "activity_id": ask.activity_id or "", "command": rounds[0]["id"]}
        found.writes += [Query("open_call", named("steps", "open_call"), params), orders.apply_query(rounds[0])]
    found.answers.append(_of_command(ask, rounds[0]))


def _of_command(ask: Ask, row: Row) -> Answer:
    retry = row["verb"] == "retry"
    return Answer(
        ref=ask.ref,
        verb=row["verb"],
        by=row["person"],
        reason=row["reason"],
        arguments=None if retry else arguments_of(row),
        round=ask.round if retry else None,
        command=row["id"],
    )


def _limits(run: Row, commands: Sequence[Row]) -> list[str]:
    """The run's limits after the top-ups that this look applies."""
    limits: list[int | None] = [run["limit_microusd"], run["limit_tokens"]]
    for row in commands:
        if row["verb"] == "top_up" and row["applied_at"] is None:
            added = [whole(arguments_of(row), name) for name in ("microusd", "tokens")]
            limits = [None if limit is None else limit + more for limit, more in zip(limits, added, strict=True)]
    return [str(limit) for limit in limits]


def _lives(context: str, lives: Sequence[Row]) -> bool:
    for row in lives:
        if row["id"] == context:
            return row["until"] is None or bool(row["until"] > row["now"])
    return False


def _consumed(decision: Row) -> Query:
    params = {"approval": decision["approval"], "nonce": decision["nonce"]}
    return Query("consume_decision", named("steps", "consume_decision"), params)


def _refused(world: World, found: Found, decision: Row, error: PolicyError, approval: Row) -> Entry:
    late = isinstance(error, ApprovalClosed)
    return entries.event(
        world,
        "decision_refused",
        decision["person"],
        run=found.run,
        node=approval["node"],
        visit=approval["visit"],
        outcome="expired" if late else "denied",
        success=False,
        error=str(error),
        verb=decision["verb"],
    )


def _waits(given: LoadInput, approvals: Sequence[Row], found: Found) -> list[Query]:
    """The open waits as rows; those that are answered stay until the run comes back without them.

    A run that has ended waits for nothing: its last task is played again, and no `close` clears them once more.
    """
    run = found.run
    if run["ended_at"] is not None:
        return []
    refs = [ask.ref for ask in given.asks]
    until = {row["id"]: row["expires_at"] for row in approvals}
    queries = [Query("clear_waits", named("steps", "clear_waits"), {"run": run["id"], "refs": refs})]
    for ask in given.asks:
        row = {
            "tenant": run["tenant"],
            "run": run["id"],
            "node": ask.node,
            "visit": ask.visit,
            "kind": ask.kind,
            "ref": ask.ref,
            "round": ask.round,
            "until": until.get(ask.ref),
            "error": ask.error.model_dump_json().encode() if ask.error else None,
        }
        queries.append(Query("put_wait", named("steps", "put_wait"), row))
    answered = {answer.ref for answer in found.answers}
    goes_on = bool(refs) and answered.issuperset(refs)
    state = {"run": run["id"], "state": "running" if goes_on else given.state}
    queries.append(Query("set_state", named("steps", "set_state"), state))
    return queries


def _doubtful(given: LoadInput) -> list[str]:
    """The calls whose outcome was unknown when their node blocked."""
    return [ask.activity_id for ask in given.asks if ask.activity_id and ask.error and ask.error.type == UNKNOWN]


def _arrived(given: LoadInput, answered: Sequence[Row], found: Found) -> None:
    """A late outcome answers by itself: the call is sent again, and the journal tells what it did."""
    told = {answer.ref for answer in found.answers}
    arrived = {row["activity_id"] for row in answered}
    for ask in given.asks:
        if ask.activity_id in arrived and ask.ref not in told:
            found.answers.append(Answer(ref=ask.ref, verb="retry", by="gate", reason=LATE, round=ask.round))


def _refs(decisions: Sequence[Row], commands: Sequence[Row], answered: Sequence[Row]) -> list[str]:
    """The outbox's names of what this look has seen; what was signed meanwhile wakes the run again."""
    calls = [f"call/{row['id']}" for row in answered]
    return [f"decision/{row['nonce']}" for row in decisions] + [f"command/{row['id']}" for row in commands] + calls


def _loaded(found: Found, pending: Sequence[Row], *, more: bool) -> Loaded:
    answered = {answer.ref for answer in found.answers}
    still = [row for row in pending if row["id"] not in answered]
    due = min((int(row["expires_at"].timestamp()) for row in still if row["expires_at"]), default=None)
    ended = found.ended
    return Loaded(
        answers=tuple(found.answers),
        ended=ended["verb"] if ended else None,
        ended_by=ended["person"] if ended else None,
        reviewers=tuple(sorted({role for row in still for role in row["assign"]})),
        due=due,
        more=more,
    )
