"""People: whoever must be asked has decided about exactly these bytes, in time, once; else the call is held."""

from __future__ import annotations

from collections.abc import Sequence

from vertebra.activities.world import World
from vertebra.boundary.cel_child import CelRequest
from vertebra.policies.decision import check_decision
from vertebra.schemas.call import CallError, Hold
from vertebra.schemas.canonical import Json, digest_of, json_text
from vertebra.schemas.errors import BadSignature, PolicyError
from vertebra.schemas.graph import Approval
from vertebra.schemas.ids import derive
from vertebra.store.people import asked_of, check_row, people_of, signed_of
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row
from vertebra.workers.gate.element import Denied, Element, GateCall, Held, Question, Seen, Verdict, facts_of

WHEN = "approval/when"
OPERATOR = Approval(assign=("operator",))
"""Who lets a guardrail's pause pass."""
LETS_PASS = ("approve", "edit")


def reads(call: GateCall) -> Sequence[Query]:
    """What was asked and decided; nothing at all for a node that never asks."""
    if _statement(call) is None and not _may_pause(call):
        return ()
    params = {"run": call.run, "activity_id": call.activity_id}
    return Query("approvals", named("gate", "approvals"), params), Query("keys", named("gate", "keys"), params)


def asks(call: GateCall, seen: Seen) -> Sequence[Question]:
    """The statement's condition over the final arguments and the run's own values."""
    statement = _statement(call)
    if statement is None or statement.when is None:
        return ()
    extra: dict[str, Json] = {"tool": call.prepared.tool, "args": call.prepared.arguments}
    return (Question(WHEN, CelRequest(statement.when.source, facts_of(call, extra), statement.when.reads)),)


def judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    """No statement, or a condition that is plainly false: nobody is asked. An error asks."""
    statement = _statement(call)
    if statement is None or (statement.when is not None and seen.values.get(WHEN) is False):
        return None
    return _decided(call, seen, statement, "effect", "", "the node's approval")


def pause(call: GateCall, seen: Seen, rule: str, why: str) -> Verdict:
    """A guardrail pauses: an operator may let this rule pass for this node's visit."""
    return _decided(call, seen, OPERATOR, "guardrail", rule, why)


def paused_after(call: GateCall, seen: Seen) -> Verdict:
    """A guardrail paused on the result of a call that is done: the answer waits until an operator lets it pass."""
    for row in _rows(seen):
        if row["kind"] != "result" or row["state"] == "withdrawn":
            continue
        if row["state"] == "approved":
            decided = _counting(row["id"], seen)
            if isinstance(decided, PolicyError):
                return _uncounted(call, row["id"], decided)
            continue
        if row["state"] == "pending" and row["expires_at"] > seen.now:
            return Held(_hold(row), "guardrail", f"guardrail {row['subject']!r} waits for an operator")
        return Denied("guardrail", _error(call, "GuardrailRejected", f"guardrail {row['subject']!r} was not let pass"))
    return None


def pause_result(call: GateCall, rule: str, why: str) -> Held:
    """Ask an operator about a result that broke a rule."""
    return _ask(call, OPERATOR, "result", rule, 1, why)


def writes(call: GateCall, seen: Seen, world: World) -> Sequence[Query]:
    """A decision is spent on this call, for all its attempts."""
    return [
        Query("use_approval", named("gate", "use_approval"), {"id": row["id"], "call": call.id})
        for row in _rows(seen)
        if row["verb"] in LETS_PASS and row["state"] in ("approved", "edited")
    ]


def asked_digest(seen: Seen) -> str | None:
    """The digest of what was asked, where a person edited it."""
    return next((row["digest"] for row in _rows(seen) if row["verb"] == "edit" and row["state"] == "edited"), None)


def _decided(call: GateCall, seen: Seen, asked: Approval, kind: str, subject: str, why: str) -> Verdict:
    rows = [row for row in _rows(seen) if row["kind"] == kind and row["subject"] == subject]
    if not rows:
        return _ask(call, asked, kind, subject, 1, why)
    newest = rows[0]
    if newest["state"] == "pending" and newest["expires_at"] > seen.now:
        if newest["digest"] == call.prepared.digest:
            return Held(_hold(newest), "approval", why)
        return _ask(call, asked, kind, subject, newest["round"] + 1, why, void=newest)
    if newest["state"] in ("approved", "edited"):
        decided = _counting(newest["id"], seen)
        if isinstance(decided, PolicyError):
            return _uncounted(call, newest["id"], decided)
        return _covers(call, decided, asked, kind, subject, why)
    return _ask(call, asked, kind, subject, newest["round"] + 1, why)


def _covers(call: GateCall, row: Row, asked: Approval, kind: str, subject: str, why: str) -> Verdict:
    """Whether a decision covers these very bytes; a changed request is asked anew."""
    if row["used_by"] not in (None, call.id):
        return _ask(call, asked, kind, subject, row["round"] + 1, why)
    edited = digest_of(json_text(call.prepared.arguments).encode())
    same = row["arguments_digest"] == edited if row["verb"] == "edit" else row["digest"] == call.prepared.digest
    if not same and kind == "effect":
        return _ask(call, asked, kind, subject, row["round"] + 1, why)
    return None


def _counting(approval: str, seen: Seen) -> Row | PolicyError:
    """The first decision of an approval that counts, which must let it pass; forged ones beside it change nothing."""
    wrong: PolicyError = BadSignature("nobody signed it")
    people = people_of(seen.of("approval", 1))
    for row in _rows(seen):
        if row["id"] != approval or row["verb"] is None:
            continue
        try:
            statement = check_decision(asked_of(row), signed_of(row, "decided_at"), people)
            check_row(statement, row)
        except PolicyError as error:
            wrong = error
            continue
        return row if row["verb"] in LETS_PASS else BadSignature(f"{statement.person!r} said {row['verb']!r}")
    return wrong


def _uncounted(call: GateCall, approval: str, error: PolicyError) -> Denied:
    return Denied("approval", _error(call, type(error).__name__, f"the decision of approval {approval}: {error}"))


def _ask(
    call: GateCall, asked: Approval, kind: str, subject: str, round_: int, why: str, void: Row | None = None
) -> Held:
    approval_id = derive(call.run, f"{call.activity_id}/{kind}/{subject}", call.prepared.digest, "approval", round_)
    row = {
        "tenant": call.tenant,
        "id": approval_id,
        "run": call.run,
        "node": call.node.id,
        "visit": call.given.visit,
        "activity_id": call.activity_id,
        "round": round_,
        "kind": kind,
        "subject": subject,
        "request": call.prepared.request,
        "digest": call.prepared.digest,
        "assign": list(asked.assign),
        "backup": list(asked.backup),
        "escalate_after_s": asked.escalate_after_s,
        "remind_s": list(asked.remind_s),
        "expires_in_s": asked.expires_in_s,
    }
    opened = Query("open_approval", named("gate", "open_approval"), row)
    voided = () if void is None else (Query("void", named("gate", "withdraw_approval"), {"id": void["id"]}),)
    hold = Hold(kind="approval", id=approval_id)
    return Held(hold, "approval", why, writes=(*voided, opened))


def _hold(row: Row) -> Hold:
    return Hold(kind="approval", id=row["id"], until=int(row["expires_at"].timestamp()))


def _statement(call: GateCall) -> Approval | None:
    """The node's statement, if it says that somebody may be asked about this kind of call."""
    statement = call.node.approval
    if statement is None or statement.never is not None:
        return None
    return None if call.node.type == "agent" and call.prepared.kind == "llm" else statement


def _may_pause(call: GateCall) -> bool:
    return any(rule.action == "pause" and rule.on in ("*", call.node.id) for rule in call.graph.guardrails)


def _rows(seen: Seen) -> list[Row]:
    found = seen.rows.get("approval")
    return found[0] if found else []


def _error(call: GateCall, kind: str, message: str) -> CallError:
    return CallError(type=kind, message=message, node=call.node.id, visit=call.given.visit)


ELEMENT = Element("approval", reads=reads, asks=asks, judge=judge, writes=writes)
