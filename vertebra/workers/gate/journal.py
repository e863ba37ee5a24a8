"""The journal: what a call already did ends here; what nobody knows stops here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

from vertebra.activities.envelopes import envelope_query
from vertebra.activities.performed import Performed
from vertebra.activities.world import World
from vertebra.ledger.attempts import AttemptId, lose_attempts_query
from vertebra.schemas.call import CallError, CallResult
from vertebra.schemas.envelope import Envelope
from vertebra.schemas.graph import REPEATABLE
from vertebra.schemas.ids import CallId, RunId
from vertebra.store.artifacts import put_query
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row
from vertebra.workers.gate import approval
from vertebra.workers.gate.element import Answer, Denied, Element, GateCall, Seen, Settled, Verdict

MAX_LOST = 5
"""Attempts that may be lost with their workers before the call fails."""


def reads(call: GateCall) -> Sequence[Query]:
    """Every request under this activity id, and this one's attempts."""
    of_activity = {"run": call.run, "activity_id": call.activity_id}
    return (
        Query("journal", named("gate", "journal"), of_activity),
        Query("attempts", named("gate", "attempts"), of_activity | {"call": call.id}),
    )


def judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    """Answer what is done, repeat what failed for good, refuse what nobody knows; else let it go on."""
    rows = seen.of("journal")
    mine = next((row for row in rows if row["id"] == call.id), None)
    if mine is None:
        return _other_digest(call, rows)
    match mine["status"]:
        case "done":
            return approval.paused_after(call, seen) or Answer(journalled(mine))
        case "failed":
            return Denied("journal", CallError.model_validate_json(bytes(mine["error"])))
        case "unknown":
            return Denied("journal", unknown(call))
        case "intended" if call.prepared.effect not in REPEATABLE:
            given_up = (_mark_unknown(call), _lose_attempts(call, seen))
            return Denied("journal", unknown(call), writes=given_up, lost=lost(seen))
    return _used_up(call, seen)


def writes(call: GateCall, seen: Seen, world: World) -> Sequence[Query]:
    """The intent. Earlier attempts that never reported become unknown; their reservations stay held."""
    row = {
        "tenant": call.tenant,
        "id": call.id,
        "run": call.run,
        "activity_id": call.activity_id,
        "call_digest": call.prepared.digest,
        "asked_digest": approval.asked_digest(call, seen),
        "kind": call.prepared.kind,
        "effect": call.prepared.effect,
        "node": call.node.id,
        "visit": call.given.visit,
        "context": call.context,
    }
    put = Query("put_call", named("gate", "put_call"), row)
    if seen.attempt == 1:
        return (put,)
    return put, _lose_attempts(call, seen)


def after(call: GateCall, settled: Settled, world: World) -> Sequence[Query]:
    """The outcome, if it is the first; and the envelope of a node that is done."""
    performed = settled.performed
    if settled.late:
        return ()
    if performed.status == "again":
        return _release(call) if performed.books == "released" else ()
    if performed.status == "lost":
        return () if call.prepared.effect in REPEATABLE else (_mark_unknown(call),)
    error = performed.error
    row = {
        "id": call.id,
        "status": performed.status,
        "result": encoded(performed.result) if performed.result else None,
        "error": encoded(error) if error else None,
    }
    end = Query("end_call", named("gate", "end_call"), row)
    values = [put_query(call.tenant, data) for data in performed.artifacts]
    return *values, end, *_envelope(call, performed), *_wake(call, settled)


def is_models_tool(call: GateCall) -> bool:
    """A tool call that a model asked for: its result is the model's to read, not the node's."""
    return call.node.type == "agent" and call.prepared.kind == "tool"


def unknown(call: GateCall) -> CallError:
    """Nobody knows whether this call happened; only a person can say."""
    what = call.prepared.tool or call.prepared.model or call.node.id
    return CallError(
        type="UnknownOutcome",
        message=f"{what!r} was called, and nobody knows how that ended; it may have happened",
        node=call.node.id,
        visit=call.given.visit,
        do="find out; then `vertebra override` if it happened, `vertebra retry` if it did not",
    )


def counted(call: GateCall, seen: Seen) -> list[Row]:
    """Attempts that ended in a counting error since the call was last opened."""
    return [row for row in _since_opened(call, seen) if row["counts"]]


def lost(seen: Seen) -> tuple[int, ...]:
    """Attempts that never reported, and that a new intent gives up."""
    return tuple(row["n"] for row in seen.of("journal", 1) if row["state"] == "held")


def denied(call: GateCall, answer: CallResult) -> Query:
    """Journal what a model was told instead of its call, so that a resumed run reads the same."""
    row = {
        "tenant": call.tenant,
        "id": call.id,
        "run": call.run,
        "activity_id": call.activity_id,
        "call_digest": call.prepared.digest,
        "kind": call.prepared.kind,
        "node": call.node.id,
        "visit": call.given.visit,
        "context": call.context,
        "result": encoded(answer),
    }
    return Query("put_denied", named("gate", "put_denied"), row)


def failed(call: GateCall, error: CallError) -> Query:
    """Journal that this call failed without leaving again."""
    return Query("fail_unsent", named("gate", "fail_unsent"), {"id": call.id, "error": encoded(error)})


def encoded(value: CallError | CallResult) -> bytes:
    """As the journal keeps it."""
    return value.model_dump_json(exclude_defaults=True).encode()


def _other_digest(call: GateCall, rows: list[Row]) -> Verdict:
    """Another request already left under this activity id: unless it could be repeated, nobody knows what it did."""
    for row in rows:
        left = row["status"] in ("intended", "done", "unknown")
        edited = row["asked_digest"] == call.prepared.digest  # then the approval's element repeats the edit
        if left and row["effect"] not in REPEATABLE and not edited:
            return Denied("journal", unknown(call))
    return None


def _since_opened(call: GateCall, seen: Seen) -> list[Row]:
    mine = next((row for row in seen.of("journal") if row["id"] == call.id), None)
    return [row for row in seen.of("journal", 1) if mine is not None and row["opened_by"] == mine["opened_by"]]


def _used_up(call: GateCall, seen: Seen) -> Verdict:
    attempts = _since_opened(call, seen)
    failures = counted(call, seen)
    gone = [row for row in attempts if row["state"] in ("held", "unknown") and not row["counts"]]
    sent = [row["started_at"] for row in attempts if row["granted_at"] is None or row["started_at"] > row["granted_at"]]
    first = min(sent, default=seen.now)
    if len(failures) >= call.node.retry.max_attempts:
        why = f"{len(failures)} attempts failed, the last as {failures[-1]['class']}"
        return _fail(call, "AttemptsUsedUp", why, failures)
    if len(gone) >= MAX_LOST:
        why = f"{len(gone)} attempts ended without a word: their workers died, or the program is at fault"
        return _fail(call, "WorkersLost", why, gone)
    if seen.now - first > timedelta(seconds=call.node.deadline_s):
        return _fail(
            call, "DeadlineExceeded", f"the call was first tried more than {call.node.deadline_s} s ago", attempts
        )
    return None


def _wake(call: GateCall, settled: Settled) -> tuple[Query, ...]:
    if settled.own["status"] != "unknown":
        return ()
    row = {"tenant": call.tenant, "run": call.run, "ref": f"call/{call.id}"}
    return (Query("wake", named("gate", "wake"), row),)


def _envelope(call: GateCall, performed: Performed) -> tuple[Query, ...]:
    """The record of the node's task, when this call was its last."""
    result = performed.result
    if result is None or result.tool_calls or is_models_tool(call):
        return ()
    body = Envelope(
        run=call.run,
        graph=call.graph.name,
        version=call.graph.version,
        node=call.node.id,
        visit=call.given.visit,
        kind="task",
        status="succeeded",
        telemetry=result.telemetry,
        inline=result.result,
        uri=result.ref.uri if result.ref else None,
        size_bytes=len(performed.output.encode("utf-8", "backslashreplace")),
    )
    return (envelope_query(call.tenant, body),)


def _fail(call: GateCall, kind: str, message: str, attempts: Sequence[object]) -> Denied:
    error = CallError(type=kind, message=message, node=call.node.id, visit=call.given.visit, attempts=len(attempts))
    return Denied("journal", error, writes=(failed(call, error),))


def journalled(row: Row) -> CallResult:
    """The result that a row of the journal holds."""
    plain = json.loads(bytes(row["result"]))
    return CallResult.model_validate(plain | {"answered_from_journal": True})


def _release(call: GateCall) -> tuple[Query, ...]:
    """An attempt that never left puts nothing in doubt, also where a repetition would."""
    if call.prepared.effect in REPEATABLE:
        return ()
    return (Query("release_call", named("gate", "release_call"), {"id": call.id}),)


def _lose_attempts(call: GateCall, seen: Seen) -> Query:
    return lose_attempts_query(AttemptId(RunId(call.run), CallId(call.id), seen.attempt))


def _mark_unknown(call: GateCall) -> Query:
    return Query("mark_unknown", named("gate", "mark_unknown"), {"id": call.id, "error": encoded(unknown(call))})


ELEMENT = Element("journal", reads=reads, judge=judge, writes=writes, after=after)
