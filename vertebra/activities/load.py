"""Look for the standing answer of everything that a run waits for. Every signed row is verified here, and recorded.

The answers do not depend on what was read before: a lost workflow task, a reset or a continued run gets them again.
What a command changes (a limit, a renewal, an opened call) it changes once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from vertebra.activities import entries
from vertebra.activities.world import World
from vertebra.ledger.attempts import top_up_query
from vertebra.ledger.books import head_query
from vertebra.policies.decision import Person, author_of, check_decision
from vertebra.policies.signature import check_times
from vertebra.schemas.audit import Entry
from vertebra.schemas.errors import ApprovalClosed, BadSignature, NotFound, PermissionDenied, PolicyError
from vertebra.schemas.ids import RunId
from vertebra.schemas.money import MicroUSD
from vertebra.schemas.run import Answer, Ask, Loaded, LoadInput
from vertebra.schemas.signed import Statement
from vertebra.store.people import asked_of, check_row, people_of, signed_of
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, Transaction, transaction

UNKNOWN = "UnknownOutcome"
OPERATORS = ("operator", "admin")
ANSWERED = {"approve": "approved", "edit": "edited", "deny": "denied"}
MAX_RENEWAL_S = 10 * 366 * 86_400
APPLIED = ("top_up", "renew", "retry")
"""Commands that change a row when they are applied, once."""


@dataclass(slots=True)
class Found:
    """What one look brought, and what it is going to write."""

    run: Row
    answers: list[Answer] = field(default_factory=list)
    writes: list[Query] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)
    ended: Row | None = None


async def load(given: LoadInput, run: str, execution: str, world: World) -> Loaded:
    """Write down what waits, apply what was signed, and answer. Raises NotFound, PermissionDenied, StoreError."""
    async with transaction(world.pool) as opened:
        rows = await opened.trip(_reads(given, run))
        heads, pinned, approvals, decisions, commands, people, lives, pending, answered = rows
        if not heads:
            raise NotFound(f"no run {run!r} was admitted")
        await _check_open(heads[0], execution, opened)
        known = people_of(people)
        found = Found(heads[0])
        valid = _commands(commands, known, found, world)
        _apply(valid, given.asks, found, world)
        for ask in given.asks:
            _answer(ask, approvals, decisions, valid, lives, known, found, world)
        _arrived(given, answered, found)
        graph = await world.graph(pinned[0]["graph_digest"])
        envelopes, told = await entries.notes(opened, given.notes, heads[0], graph, world)
        told += found.told
        looked = Query(
            "done_wake", named("steps", "done_wake"), {"run": run, "refs": _refs(decisions, commands, answered)}
        )
        writes = [*envelopes, *found.writes, *_waits(given, found), looked]
        await opened.commit([*writes, *entries.append(heads[0], told, world)])
    return _loaded(found, pending)


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
        Query("asked_decisions", named("steps", "asked_decisions"), {"ids": ids}),
        Query("run_commands", named("steps", "run_commands"), of_run),
        Query("signers", named("steps", "signers"), of_run),
        Query("context_lives", named("steps", "context_lives"), of_run),
        Query("open_approvals", named("steps", "open_approvals"), of_run),
        Query("answered_calls", named("steps", "answered_calls"), {"run": run, "activity_ids": _doubtful(given)}),
    ]


def _commands(rows: Sequence[Row], people: Sequence[Person], found: Found, world: World) -> list[Row]:
    """The commands that count, oldest first. A forged one is put on record once, and changes nothing."""
    valid = []
    for row in rows:
        try:
            statement, person = author_of(signed_of(row), "command", people)
            check_command(statement, person, row)
        except PolicyError as error:
            if row["consumed_at"] is None:
                found.writes.append(Query("consume_command", named("steps", "consume_command"), {"id": row["id"]}))
                found.told.append(_refused(world, found, "command_refused", row, error))
            continue
        valid.append(row)
    return valid


def check_command(statement: Statement, person: Person, row: Row) -> None:
    """Raise PermissionDenied or BadSignature unless an operator signed exactly what the row says."""
    if not set(person.roles) & set(OPERATORS):
        raise PermissionDenied(f"{person.name!r} may not command runs; it needs the role 'operator'")
    signed = (statement.id, statement.run, statement.epoch, statement.node, statement.visit, statement.verb)
    if signed != (row["id"], row["run"], row["epoch"], row["node"], row["visit"], row["verb"]):
        raise BadSignature("the command was signed for something else than its row says")
    check_times(statement, row["at"])
    check_row(statement, row)
    if row["verb"] == "renew" and _whole(_arguments(row), "seconds") > MAX_RENEWAL_S:
        raise PermissionDenied("a context may be renewed for ten years at most")


def _apply(valid: Sequence[Row], asks: Sequence[Ask], found: Found, world: World) -> None:
    """Carry out top-ups and renewals that were not applied yet, and note how the run is to end."""
    for row in valid:
        if row["verb"] in ("abort", "cancel") and row["epoch"] == found.run["epoch"]:
            found.ended = found.ended or row
        if row["verb"] not in ("top_up", "renew") or row["applied_at"] is not None:
            _tell(row, found, world)
            continue
        arguments = _arguments(row)
        if row["verb"] == "top_up":
            money, tokens = _whole(arguments, "microusd"), _whole(arguments, "tokens")
            found.writes.append(top_up_query(RunId(row["run"]), row["id"], MicroUSD(money), tokens))
        else:
            params = {
                "run": row["run"],
                "command": row["id"],
                "seconds": _whole(arguments, "seconds"),
                "context": arguments.get("context") if isinstance(arguments, dict) else None,
            }
            found.writes.append(Query("put_renewal", named("steps", "put_renewal"), params))
            found.writes.append(Query("apply_command", named("steps", "apply_command"), {"id": row["id"]}))
        _tell(row, found, world)


def _tell(row: Row, found: Found, world: World) -> None:
    """Put a command on record the first time that the run sees it."""
    if row["consumed_at"] is not None or row["verb"] == "resume":
        return
    found.writes.append(Query("consume_command", named("steps", "consume_command"), {"id": row["id"]}))
    found.told.append(
        entries.event(
            world,
            f"command_{row['verb']}",
            row["person"],
            run=found.run,
            node=row["node"],
            visit=row["visit"],
            content=bytes(row["arguments"]).decode() if row["arguments"] is not None else None,
            reason=row["reason"],
            command=row["id"],
        )
    )


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
    for decision in decisions:
        try:
            statement = check_decision(asked_of(row), signed_of(decision), people)
            check_row(statement, decision)
        except PolicyError as error:
            if decision["consumed_at"] is None:
                found.writes.append(_consumed(decision))
                found.told.append(_refused(world, found, "decision_refused", decision, error, row))
            continue
        if row["state"] == "pending":
            _close_approval(row, decision, found, world)
        if row["state"] in ("pending", ANSWERED[decision["verb"]]):
            found.answers.append(_of_decision(row, decision))
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


def _of_decision(row: Row, decision: Row) -> Answer:
    arguments: JsonValue = None
    if decision["arguments"] is not None:
        arguments = json.loads(bytes(decision["arguments"]))
    return Answer(
        ref=row["id"],
        verb=decision["verb"],
        by=decision["person"],
        reason=decision["reason"],
        arguments=arguments,
    )


def _unblocked(ask: Ask, commands: Sequence[Row], found: Found) -> None:
    """`skip` and `override` stand for good; the n-th `retry` answers the n-th block of a visit."""
    mine = [row for row in commands if (row["node"], row["visit"]) == (ask.node, ask.visit)]
    for row in reversed(mine):  # the newest: an override that did not fit must not stand in the way of another
        if row["verb"] in ("skip", "override"):
            found.answers.append(_of_command(ask, row))
            return
    retries = [row for row in mine if row["verb"] == "retry"]
    if len(retries) < ask.round:
        return
    row = retries[ask.round - 1]
    if row["applied_at"] is None:
        params = {"run": row["run"], "activity_id": ask.activity_id or "", "command": row["id"]}
        found.writes.append(Query("open_call", named("steps", "open_call"), params))
        found.writes.append(Query("apply_command", named("steps", "apply_command"), {"id": row["id"]}))
    found.answers.append(_of_command(ask, row))


def _of_command(ask: Ask, row: Row) -> Answer:
    return Answer(ref=ask.ref, verb=row["verb"], by=row["person"], reason=row["reason"], arguments=_arguments(row))


def _limits(run: Row, commands: Sequence[Row]) -> list[str]:
    """The run's limits after the top-ups that this look applies."""
    limits: list[int | None] = [run["limit_microusd"], run["limit_tokens"]]
    for row in commands:
        if row["verb"] == "top_up" and row["applied_at"] is None:
            added = [_whole(_arguments(row), name) for name in ("microusd", "tokens")]
            limits = [None if limit is None else limit + more for limit, more in zip(limits, added, strict=True)]
    return [str(limit) for limit in limits]


def _lives(context: str, lives: Sequence[Row]) -> bool:
    for row in lives:
        if row["id"] == context:
            return row["until"] is None or bool(row["until"] > row["now"])
    return False


def _arguments(row: Row) -> JsonValue:
    value: JsonValue = None if row["arguments"] is None else json.loads(bytes(row["arguments"]))
    return value


def _whole(arguments: JsonValue, name: str) -> int:
    value = arguments.get(name, 0) if isinstance(arguments, dict) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _consumed(decision: Row) -> Query:
    params = {"approval": decision["approval"], "nonce": decision["nonce"]}
    return Query("consume_decision", named("steps", "consume_decision"), params)


def _refused(
    world: World, found: Found, operation: str, row: Row, error: PolicyError, approval: Row | None = None
) -> Entry:
    late = isinstance(error, ApprovalClosed)
    return entries.event(
        world,
        operation,
        row["person"],
        run=found.run,
        node=approval["node"] if approval else row["node"],
        visit=approval["visit"] if approval else row["visit"],
        outcome="expired" if late else "denied",
        success=False,
        error=str(error),
        verb=row["verb"],
    )


def _waits(given: LoadInput, found: Found) -> list[Query]:
    """The open waits as rows; those that are answered stay until the run comes back without them."""
    run = found.run
    refs = [ask.ref for ask in given.asks]
    queries = [Query("clear_waits", named("steps", "clear_waits"), {"run": run["id"], "refs": refs})]
    for ask in given.asks:
        row = {
            "tenant": run["tenant"],
            "run": run["id"],
            "node": ask.node,
            "visit": ask.visit,
            "kind": ask.kind,
            "ref": ask.ref,
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
            found.answers.append(Answer(ref=ask.ref, verb="retry", by="gate", reason="the outcome came late"))


def _refs(decisions: Sequence[Row], commands: Sequence[Row], answered: Sequence[Row]) -> list[str]:
    """The outbox's names of what this look has seen; what was signed meanwhile wakes the run again."""
    calls = [f"call/{row['id']}" for row in answered]
    return [f"decision/{row['nonce']}" for row in decisions] + [f"command/{row['id']}" for row in commands] + calls


def _loaded(found: Found, pending: Sequence[Row]) -> Loaded:
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
    )
