"""What operators signed: which commands count, what is put on record of them, and what they change, once.

A run that waits applies them when it looks, the keeper when it opens an ended run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from vertebra.activities import entries
from vertebra.activities.world import World
from vertebra.ledger.attempts import top_up_query
from vertebra.policies.decision import Person, author_of
from vertebra.policies.signature import check_times
from vertebra.schemas.audit import Entry
from vertebra.schemas.errors import BadSignature, PermissionDenied, PolicyError
from vertebra.schemas.ids import RunId
from vertebra.schemas.money import MicroUSD
from vertebra.schemas.run import MAX_ORDERS, MAX_ORDERS_BYTES, MAX_TOP_UP, Ask
from vertebra.schemas.signed import Statement
from vertebra.store.people import arguments_of, check_row, signed_of
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row

OPERATORS = ("operator", "admin")
SENDERS = ("starter", *OPERATORS)
"""Who may send events: an event is input, as what a run is started with."""
BOUND = {"most": MAX_ORDERS, "most_bytes": MAX_ORDERS_BYTES}
"""Of what one look reads for the first time."""
MAX_RENEWAL_S = 10 * 366 * 86_400
CHANGES = ("top_up", "renew")
"""Commands that change the run's limits or contexts."""


@dataclass(slots=True)
class Orders:
    """The commands that count, oldest first, with what is to be written about all of them."""

    valid: list[Row] = field(default_factory=list)
    writes: list[Query] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)


def reads(run: str, asks: Sequence[Ask] = ()) -> list[Query]:
    """What operators signed about the run that is new or may answer these waits, and who signed; `judged` takes both.

    However much was written, a look has no more to verify than it has time for.
    """
    of_run = {"run": run}
    blocked = [ask for ask in asks if ask.kind == "blocked"]
    bound = {"nodes": [ask.node for ask in blocked], "visits": [ask.visit for ask in blocked], **BOUND}
    return [
        Query("run_commands", named("steps", "run_commands"), of_run | bound),
        Query("signers", named("steps", "signers"), of_run),
    ]


def judged(rows: Iterable[Row], people: Sequence[Person], run: Row, world: World) -> Orders:
    """Verify each command; those that count change what they change. A forged one is put on record once, and aside."""
    found = Orders()
    for row in rows:
        try:
            statement, person = author_of(signed_of(row), "command", people)
            check_command(statement, person, row)
        except PolicyError as error:
            if row["refused_at"] is None:
                found.writes += [consume_query(row), refuse_query(row)]
                found.told.append(_refusal(row, error, run, world))
            continue
        found.valid.append(row)
        if row["consumed_at"] is None:
            found.writes.append(consume_query(row))
            found.told.append(_entry(row, run, world))
        if row["verb"] in CHANGES and row["applied_at"] is None:
            found.writes += _changes(row)
    return found


def check_command(statement: Statement, person: Person, row: Row) -> None:
    """Raise PermissionDenied or BadSignature unless somebody who may signed exactly what the row says.

    What has been applied stands, whatever role the person has lost since.
    """
    if row["verb"] == "event" and not set(person.roles) & set(SENDERS) and row["applied_at"] is None:
        raise PermissionDenied(f"{person.name!r} may not send events to runs; it needs the role 'starter'")
    if row["verb"] != "event" and row["applied_at"] is None and not set(person.roles) & set(OPERATORS):
        raise PermissionDenied(f"{person.name!r} may not command runs; it needs the role 'operator'")
    signed = (statement.id, statement.run, statement.epoch, statement.node, statement.visit, statement.verb)
    if signed != (row["id"], row["run"], row["epoch"], row["node"], row["visit"], row["verb"]):
        raise BadSignature("the command was signed for something else than its row says")
    check_times(statement, row["at"])
    check_row(statement, row)
    if row["verb"] in CHANGES:
        _check_change(row["verb"], arguments_of(row))
    if row["verb"] == "retry" and not whole(arguments_of(row), "round"):
        raise BadSignature("the retry does not say which block of the visit it answers", do="sign it again")


def _check_change(verb: str, arguments: JsonValue) -> None:
    """Raise PermissionDenied for what no row can hold: it would break every look of its run, also at other orders."""
    if verb == "top_up" and max(whole(arguments, "microusd"), whole(arguments, "tokens")) > MAX_TOP_UP:
        raise PermissionDenied(f"a limit is raised by {MAX_TOP_UP} micro-dollars or tokens at most")
    if verb == "renew" and whole(arguments, "seconds") > MAX_RENEWAL_S:
        raise PermissionDenied("a context may be renewed for ten years at most")
    if verb == "renew" and not isinstance(_context(arguments), str | None):
        raise PermissionDenied("a renewal names its context by its id, or names none")


def _context(arguments: JsonValue) -> JsonValue:
    return arguments.get("context") if isinstance(arguments, dict) else None


def whole(arguments: JsonValue, name: str) -> int:
    """A positive whole number among the arguments; 0 where there is none."""
    value = arguments.get(name, 0) if isinstance(arguments, dict) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def consume_query(row: Row) -> Query:
    """Note that somebody has looked at the command."""
    return Query("consume_command", named("steps", "consume_command"), {"id": row["id"]})


def tell_received(world: World, written: Sequence[Query], rows: Sequence[Sequence[Row]]) -> None:
    """Count what was looked at for the first time by these statements, now that they are committed."""
    for query, found in zip(written, rows, strict=True):
        if query.name in ("consume_command", "consume_decision"):
            for row in found:
                world.watch.received(row["kind"], row["seconds"])


def apply_query(row: Row) -> Query:
    """Note that the command has done what it does."""
    return Query("apply_command", named("steps", "apply_command"), {"id": row["id"]})


def refuse_query(row: Row) -> Query:
    """Put the command aside for good: it must not take the place of a true one."""
    return Query("refuse_command", named("steps", "refuse_command"), {"id": row["id"]})


def is_full(rows: Iterable[Row], most: int = MAX_ORDERS, most_bytes: int = MAX_ORDERS_BYTES) -> bool:
    """Whether a look has read as much as it may of what nobody had read: there may be more of it."""
    sizes = [len(row["arguments"] or b"") for row in rows if row["consumed_at"] is None]
    return len(sizes) >= most or sum(sizes) >= most_bytes


def _changes(row: Row) -> list[Query]:
    arguments = arguments_of(row)
    if row["verb"] == "top_up":
        money, tokens = whole(arguments, "microusd"), whole(arguments, "tokens")
        return [top_up_query(RunId(row["run"]), row["id"], MicroUSD(money), tokens)]
    params = {
        "run": row["run"],
        "command": row["id"],
        "seconds": whole(arguments, "seconds"),
        "context": _context(arguments),
    }
    return [Query("put_renewal", named("steps", "put_renewal"), params), apply_query(row)]


def _entry(row: Row, run: Row, world: World) -> Entry:
    return entries.event(
        world,
        f"command_{row['verb']}",
        row["person"],
        run=run,
        node=row["node"],
        visit=row["visit"],
        content=bytes(row["arguments"]).decode() if row["arguments"] is not None else None,
        reason=row["reason"],
        command=row["id"],
    )


def _refusal(row: Row, error: PolicyError, run: Row, world: World) -> Entry:
    return entries.event(
        world,
        "command_refused",
        row["person"],
        run=run,
        node=row["node"],
        visit=row["visit"],
        outcome="denied",
        success=False,
        error=str(error),
        verb=row["verb"],
    )
