"""People: whoever must be asked has decided about exactly these bytes, in time, once; else the call is held."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

from vertebra.activities.world import World
from vertebra.boundary.cel_child import CelRequest
from vertebra.engine.calls import refusal
from vertebra.policies.decision import check_decision
from vertebra.schemas.call import CallError, Hold
from vertebra.schemas.canonical import Json, canonical_bytes, digest_of, json_text
from vertebra.schemas.errors import BadSignature, PermissionDenied, PolicyError
from vertebra.schemas.graph import Approval
from vertebra.schemas.ids import derive
from vertebra.schemas.run import Answer, Ask
from vertebra.store.people import asked_of, check_row, people_of, signed_of
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row
from vertebra.workers.gate.element import Denied, Element, GateCall, Held, Question, Seen, Verdict, facts_of

WHEN = "approval/when"
OPERATOR = Approval(assign=("operator",))
"""Who lets a guardrail's pause pass."""
LETS_PASS = ("approve", "edit")


class Matter(NamedTuple):
    """What people are asked about a call."""

    asked: Approval
    kind: Literal["effect", "guardrail", "result"]
    subject: str
    """The guardrail's id."""
    why: str


def reads(call: GateCall) -> Sequence[Query]:
    """What was asked and decided; nothing at all for a node that never asks."""
    if _statement(call) is None and not _may_pause(call):
        return ()
    params = {"run": call.run, "activity_id": call.activity_id, "node": call.node.id, "visit": call.given.visit}
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
    return _decided(call, seen, Matter(statement, "effect", "", "the node's approval"))


def pause(call: GateCall, seen: Seen, rule: str, why: str) -> Verdict:
    """A guardrail pauses: an operator may let this rule pass for this node's visit, all calls of it."""
    for row in _rows(seen):
        asked = row["kind"] == "guardrail" and row["subject"] == rule and row["state"] == "approved"
        if asked and not isinstance(_letting(row["id"], seen), PolicyError):
            return None
    return _decided(call, seen, Matter(OPERATOR, "guardrail", rule, why))


def paused_after(call: GateCall, seen: Seen) -> Verdict:
    """A guardrail paused on the result of a call that is done: the answer waits until an operator lets it pass."""
    for rule in dict.fromkeys(row["subject"] for row in _own(call, seen) if row["kind"] == "result"):
        verdict = _decided(call, seen, Matter(OPERATOR, "result", rule, f"guardrail {rule!r} waits for an operator"))
        if verdict is not None:
            return verdict
    return None


def pause_result(call: GateCall, seen: Seen, rule: str, why: str) -> Held:
    """Ask an operator about a result that broke a rule."""
    matter = Matter(OPERATOR, "result", rule, why)
    return _ask(call, matter, _newest(_about(call, seen, matter)))


def writes(call: GateCall, seen: Seen, world: World) -> Sequence[Query]:
    """A decision is spent on this call, for all its attempts."""
    return [
        Query("use_approval", named("gate", "use_approval"), {"id": row["id"], "call": call.id})
        for row in _own(call, seen)
        if row["verb"] in LETS_PASS and row["state"] in ("approved", "edited")
    ]


def asked_digest(call: GateCall, seen: Seen) -> str | None:
    """The digest of what was asked, where a person edited it."""
    newest = next((row for row in _own(call, seen) if row["kind"] == "effect"), None)
    return newest["digest"] if newest is not None and newest["state"] == "edited" else None


def _decided(call: GateCall, seen: Seen, matter: Matter) -> Verdict:
    """What the newest round says. What was denied or expired stays so, until an operator's `retry` asks anew."""
    newest = next(iter(_about(call, seen, matter)), None)
    if newest is None:
        return _ask(call, matter)
    match newest["state"]:
        case "pending" if newest["digest"] == call.prepared.digest:
            return Held(_hold(newest), "approval", matter.why)
        case "pending":
            return _ask(call, matter, newest["round"], void=newest["id"])
        case "approved" | "edited":
            return _passing(call, seen, matter, newest)
        case "withdrawn":
            return _ask(call, matter, newest["round"])
    # a denied call of a model is an answer that it has read: nobody retries that
    if newest["reopened"] and call.given.tool_call is None:
        return _ask(call, matter, newest["round"])
    return _turned_down(call, seen, newest)


def _passing(call: GateCall, seen: Seen, matter: Matter, newest: Row) -> Verdict:
    """Whether the decision counts and covers these very bytes. A changed request is asked anew."""
    decided = _letting(newest["id"], seen)
    if isinstance(decided, PermissionDenied):
        return _ask(call, matter, newest["round"])  # who decided may not, or may no longer
    if isinstance(decided, PolicyError):
        message = f"the decision of approval {newest['id']}: {decided}"
        return Denied("approval", _error(call, type(decided).__name__, message))
    if matter.kind != "effect":
        return None
    if _lets_pass(decided) == call.prepared.digest and decided["used_by"] in (None, call.id):
        return None
    if decided["verb"] == "edit" and newest["digest"] == call.prepared.digest:
        # the run has forgotten what was written instead, and is told it again
        return Held(_hold(newest), "approval", matter.why)
    return _ask(call, matter, newest["round"])


def _lets_pass(decided: Row) -> str:
    """The digest of the request that a decision lets pass: the one that was asked, or with the arguments edited."""
    if decided["verb"] != "edit":
        digest: str = decided["digest"]
        return digest
    arguments = json_text(json.loads(bytes(decided["arguments"] or b"null")))
    return digest_of(canonical_bytes({**json.loads(bytes(decided["request"])), "arguments": arguments}))


def _letting(approval: str, seen: Seen) -> Row | PolicyError:
    """The decision that lets an approval pass, or why none does."""
    decided = _counting(approval, seen)
    if isinstance(decided, PolicyError) or decided["verb"] in LETS_PASS:
        return decided
    return BadSignature(f"{decided['person']!r} said {decided['verb']!r}")


def _counting(approval: str, seen: Seen) -> Row | PolicyError:
    """The first decision of an approval that counts; forged ones beside it change nothing."""
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
        return row
    return wrong


def _turned_down(call: GateCall, seen: Seen, row: Row) -> Denied:
    """In the words in which the run was told so when it was decided: a resumed run must go the same way."""
    ask = Ask(ref=row["id"], kind="approval", node=call.node.id, visit=call.given.visit)
    answer = Answer(ref=row["id"], verb="expired", reason="nobody decided in time")
    decided = _counting(row["id"], seen)
    if row["state"] == "denied":
        by, reason = (None, None) if isinstance(decided, PolicyError) else (decided["person"], decided["reason"])
        answer = Answer(ref=row["id"], verb="deny", by=by, reason=reason)
    return Denied("approval", refusal(ask, answer))


def _ask(call: GateCall, matter: Matter, rounds: int = 0, void: str | None = None) -> Held:
    """Ask in a new round, after so many; `void` is the approval that nobody need answer any more."""
    asked, about = matter.asked, f"{call.activity_id}/{matter.kind}/{matter.subject}"
    approval_id = derive(call.run, about, call.prepared.digest, "approval", rounds + 1)
    row = {
        "tenant": call.tenant,
        "id": approval_id,
        "run": call.run,
        "node": call.node.id,
        "visit": call.given.visit,
        "activity_id": call.activity_id,
        "round": rounds + 1,
        "kind": matter.kind,
        "subject": matter.subject,
        "request": call.prepared.request,
        "digest": call.prepared.digest,
        "assign": list(asked.assign),
        "backup": list(asked.backup),
        "escalate_after_s": asked.escalate_after_s,
        "remind_s": list(asked.remind_s),
        "expires_in_s": asked.expires_in_s,
    }
    opened = Query("open_approval", named("gate", "open_approval"), row)
    voided = () if void is None else (Query("void", named("gate", "withdraw_approval"), {"id": void}),)
    return Held(Hold(kind="approval", id=approval_id), "approval", matter.why, writes=(*voided, opened))


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


def _own(call: GateCall, seen: Seen) -> list[Row]:
    """What was asked about this very activity, newest first; the rest are guardrails of the same visit."""
    return [row for row in _rows(seen) if row["activity_id"] == call.activity_id]


def _about(call: GateCall, seen: Seen, matter: Matter) -> list[Row]:
    key = (matter.kind, matter.subject)
    return [row for row in _own(call, seen) if (row["kind"], row["subject"]) == key]


def _newest(rows: Sequence[Row]) -> int:
    """The last round of them."""
    return max((row["round"] for row in rows), default=0)


def _error(call: GateCall, kind: str, message: str) -> CallError:
    return CallError(type=kind, message=message, node=call.node.id, visit=call.given.visit)


ELEMENT = Element("approval", reads=reads, asks=asks, judge=judge, writes=writes)
