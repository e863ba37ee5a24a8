"""Guardrails: the author's CEL rules over telemetry and content. An error is neither true nor false: it rejects."""

from __future__ import annotations

from collections.abc import Sequence

from vertebra.activities.world import World
from vertebra.boundary.cel_child import CelRequest
from vertebra.ledger.books import books_of, telemetry
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import Guardrail
from vertebra.store.transaction import Row
from vertebra.workers.gate import approval
from vertebra.workers.gate.element import Denied, Element, GateCall, Question, Seen, Verdict, facts_of


def rules(call: GateCall, at: str) -> list[Guardrail]:
    """The rules that watch this node, in file order."""
    return [rule for rule in call.graph.guardrails if rule.at == at and rule.on in ("*", call.node.id)]


def asks(call: GateCall, seen: Seen) -> Sequence[Question]:
    """One question per rule, over the settled figures and the run's own values."""
    if not seen.books:
        return ()
    return questions(call, "before", seen.books[0])


def questions(call: GateCall, at: str, books: Row, result: Json = None) -> list[Question]:
    """The rules of one side of the call as CEL, with what they may read; of the result only what they do read."""
    found = []
    for rule in rules(call, at):
        figures: dict[str, Json] = {
            **dict.fromkeys(rule.when.telemetry, 0),
            **_figures(books),
            "visits": call.given.visit,
        }
        reads_own = any(path.partition(".")[0] == call.node.id for path in rule.when.reads)
        own: dict[str, Json] = {call.node.id: result} if at == "after" and reads_own else {}
        facts = facts_of(call, {**{name: figures[name] for name in rule.when.telemetry}, **own})
        found.append(Question(f"guardrail/{rule.id}", CelRequest(rule.when.source, facts, rule.when.reads)))
    return found


def judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    """The first rule that holds, in file order, decides."""
    for rule in rules(call, "before") if seen.books else ():
        verdict = broken(call, rule, seen)
        if verdict is not None:
            return verdict
    return None


def broken(call: GateCall, rule: Guardrail, seen: Seen) -> Verdict:
    """What one rule's answer means; None lets the call pass."""
    key = f"guardrail/{rule.id}"
    value = seen.values.get(key)
    if value is False:
        return None
    why = f"guardrail {rule.id!r}: {rule.when.text}"
    if value is None:
        why = f"guardrail {rule.id!r} could not be evaluated: {seen.errors.get(key, 'no answer')}"
        return Denied("guardrail", _error(call, "GuardrailRejected", why))
    if rule.action == "pause":
        return (
            approval.pause(call, seen, rule.id, why)
            if rule.at == "before"
            else approval.pause_result(call, seen, rule.id, why)
        )
    return Denied("guardrail", _error(call, "Aborted" if rule.action == "abort" else "GuardrailRejected", why))


def _figures(books: Row) -> dict[str, Json]:
    figures: dict[str, Json] = dict(telemetry(books_of(books)))
    return figures


def _error(call: GateCall, kind: str, message: str) -> CallError:
    return CallError(type=kind, message=message, node=call.node.id, visit=call.given.visit)


ELEMENT = Element("guardrail", asks=asks, judge=judge)
