"""`store/sql/gate.sql` over rows in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vertebra.schemas.errors import Conflict
from vertebra.testing.answers.taken import after, by_time, columns, one, put_outbox
from vertebra.testing.rows import Answer, Params, Row, Rows

PUBLIC = "name key public_key roles signer revoked_at"
SIGNED = "verb arguments arguments_digest reason person key nonce statement signature"


def run(rows: Rows, p: Params) -> list[Row]:
    wanted = "id tenant chain epoch state ended_at graph_digest correlation_id principal"
    found = one(rows.get("runs", p["run"]))
    return [columns(row, wanted, now=rows.now, principal_revoked=_revoked(rows, row)) for row in found]


def contexts(rows: Rows, p: Params) -> list[Row]:
    line: list[Row] = []
    found = rows.get("contexts", p["context"])
    while found is not None and len(line) <= 16:
        line.append(found)
        found = rows.get("contexts", found["parent"])
    wanted = "id parent run agent grant depth expires_at key_id seal tenant at"
    return [
        columns(row, wanted, up=up, until=until(rows, line[up:]), revoked=_standing(rows, row["id"]))
        for up, row in enumerate(line)
    ]


def until(rows: Rows, line: list[Row]) -> datetime | None:
    """When the first context of a line ends: a renewal of an ancestor counts for it too."""
    own: datetime | None = line[0]["expires_at"]
    if own is None:
        return None
    renewed: list[datetime] = [row["expires_at"] for above in line for row in rows.of("renewals", context=above["id"])]
    return max([own, *renewed])


def revocations(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("revocations", tenant=p["tenant"], lifted_at=None) if row["target"] in p["targets"]]
    return [columns(row, "id kind target reason") for row in found]


def journal(rows: Rows, p: Params) -> list[Row]:
    wanted = "id call_digest asked_digest effect status result result_artifact error opened_by"
    return [columns(row, wanted) for row in rows.of("calls", run=p["run"], activity_id=p["activity_id"])]


def attempts(rows: Rows, p: Params) -> list[Row]:
    commands = [row for row in rows.of("commands", run=p["run"]) if row["verb"] in ("top_up", "renew")]
    times = [row["applied_at"] for row in commands]
    times += [row["decided_at"] for row in rows.of("approvals", run=p["run"], activity_id=p["activity_id"])]
    granted = max((at for at in times if at is not None), default=None)
    found = sorted(rows.of("attempts", call=p["call"]), key=lambda row: row["n"])
    return [columns(row, "n state class counts opened_by started_at", granted_at=granted) for row in found]


def approvals(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("approvals", run=p["run"]) if _concerns(row, p)]
    joined = [_joined(rows, row, decision) for row in found for decision in _decisions(rows, row)]
    return sorted(joined, key=lambda row: -row["round"])


def keys(rows: Rows, p: Params) -> list[Row]:
    asked = {row["id"] for row in rows.of("approvals", run=p["run"], node=p["node"], visit=p["visit"])}
    said = [row for row in rows.of("decisions") if row["approval"] in asked]
    names, used = {row["person"] for row in said}, {row["key"] for row in said}
    return [columns(row, PUBLIC) for row in rows.of("people") if row["name"] in names or row["key"] in used]


def put_call(rows: Rows, p: Params) -> None:
    if not rows.add("calls", (p["id"],), _call(rows, p, status="intended")):
        rows.change("calls", (p["id"],), status="intended")


def use_approval(rows: Rows, p: Params) -> None:
    for row in one(rows.get("approvals", p["id"])):
        if row["used_by"] in (None, p["call"]):
            rows.change("approvals", (p["id"],), used_by=p["call"])


def end_call(rows: Rows, p: Params) -> None:
    if _status(rows, p["id"]) in ("intended", "unknown", "open"):
        ended = columns(dict(p), "status result error", ended_at=rows.now)
        rows.change("calls", (p["id"],), **ended)


def wake(rows: Rows, p: Params) -> None:
    if not put_outbox(rows, {**p, "kind": "wake"}):
        rows.change("outbox", ("wake", p["run"], p["ref"]), done_at=None, due_at=rows.now)


def mark_unknown(rows: Rows, p: Params) -> None:
    if _status(rows, p["id"]) in ("intended", "open"):
        rows.change("calls", (p["id"],), status="unknown", error=p["error"])


def release_call(rows: Rows, p: Params) -> None:
    if _status(rows, p["id"]) == "intended":
        rows.change("calls", (p["id"],), status="released")


def fail_unsent(rows: Rows, p: Params) -> None:
    if _status(rows, p["id"]) in ("intended", "open", "released"):
        rows.change("calls", (p["id"],), status="failed", error=p["error"], ended_at=rows.now)


def own_call(rows: Rows, p: Params) -> list[Row]:
    return [columns(row, "status result error") for row in one(rows.get("calls", p["id"]))]


def put_envelope(rows: Rows, p: Params) -> None:
    key = tuple(p[name] for name in ("run", "node", "visit", "kind", "digest"))
    rows.add("envelopes", key, {**p, "id": rows.serial(), "at": rows.now})


def open_approval(rows: Rows, p: Params) -> None:
    place = ("run", "activity_id", "kind", "subject", "round")
    if rows.get("approvals", p["id"]) is not None:
        return
    if rows.of("approvals", **{name: p[name] for name in place}):
        raise Conflict("approvals has a row of this round already", constraint="approvals_round_uq")
    given = "tenant id run node visit activity_id round kind subject request digest assign backup"
    row = {
        **columns(dict(p), given),
        "escalate_after": after(rows.now, p["escalate_after_s"]),
        "remind": [after(rows.now, seconds) for seconds in p["remind_s"]],
        "reminded": 0,
        "expires_at": after(rows.now, p["expires_in_s"]),
        "state": "pending",
        "used_by": None,
        "at": rows.now,
        "decided_at": None,
    }
    rows.insert("approvals", (p["id"],), row)


def withdraw_approval(rows: Rows, p: Params) -> None:
    for _ in rows.of("approvals", id=p["id"], state="pending"):
        rows.change("approvals", (p["id"],), state="withdrawn")


def withdraw_visit(rows: Rows, p: Params) -> None:
    for row in rows.of("approvals", run=p["run"], node=p["node"], visit=p["visit"], state="pending"):
        rows.change("approvals", (row["id"],), state="withdrawn")


def expire_approval(rows: Rows, p: Params) -> None:
    for row in rows.of("approvals", id=p["id"], state="pending"):
        if row["expires_at"] is not None and row["expires_at"] <= rows.now:
            rows.change("approvals", (p["id"],), state="expired")


def put_denied(rows: Rows, p: Params) -> None:
    row = _call(rows, {**p, "asked_digest": None, "effect": "pure"}, status="done")
    rows.add("calls", (p["id"],), {**row, "result": p["result"], "ended_at": rows.now})


def graph(rows: Rows, p: Params) -> list[Row]:
    return [columns(row, "bytes") for row in rows.of("graphs", digest=p["digest"])]


def run_pins(rows: Rows, p: Params) -> list[Row]:
    return [columns(row, "tenant graph_digest correlation_id") for row in one(rows.get("runs", p["run"]))]


def known_envelopes(rows: Rows, p: Params) -> list[Row]:
    found = rows.of("envelopes", run=p["run"])
    return [columns(row, "digest") for row in found if row["digest"] in p["digests"]]


def _revoked(rows: Rows, run_: Row) -> bool:
    by_row = rows.of("revocations", tenant=run_["tenant"], kind="person", target=run_["principal"], lifted_at=None)
    person = rows.get("people", run_["principal"])
    return bool(by_row) or (person is not None and person["revoked_at"] is not None)


def _standing(rows: Rows, context: str) -> str | None:
    found = by_time(rows.of("revocations", kind="context", target=context, lifted_at=None))
    return found[0]["reason"] if found else None


def _concerns(row: Row, p: Params) -> bool:
    same_visit = (row["node"], row["visit"]) == (p["node"], p["visit"])
    return bool(row["activity_id"] == p["activity_id"]) or (row["kind"] == "guardrail" and same_visit)


def _decisions(rows: Rows, approval: Row) -> list[Row | None]:
    return [*by_time(rows.of("decisions", approval=approval["id"], at=approval["decided_at"]))] or [None]


def _joined(rows: Rows, row: Row, decision: Row | None) -> Row:
    wanted = """id run activity_id kind subject round request digest assign backup escalate_after expires_at state
        used_by"""
    said: Row = dict.fromkeys(SIGNED.split()) if decision is None else columns(decision, SIGNED)
    turned_down = row["decided_at"] or row["expires_at"]
    place = {"run": row["run"], "node": row["node"], "visit": row["visit"], "verb": "retry"}
    retried = [command["applied_at"] for command in rows.of("commands", **place) if command["applied_at"]]
    reopened = turned_down is not None and any(at > turned_down for at in retried)
    decided_at = None if decision is None else decision["at"]
    return columns(row, wanted, **said, decided_at=decided_at, now=rows.now, reopened=reopened)


def _call(rows: Rows, p: Params, **more: Any) -> Row:
    wanted = "tenant id run activity_id call_digest asked_digest kind effect node visit context"
    empty: Row = {"result": None, "result_artifact": None, "error": None, "opened_by": None, "ended_at": None}
    return {**columns(dict(p), wanted), **empty, "at": rows.now, **more}


def _status(rows: Rows, call: str) -> str | None:
    row = rows.get("calls", call)
    return None if row is None else row["status"]


ANSWERS: Mapping[str, Answer] = {
    "run": run,
    "contexts": contexts,
    "revocations": revocations,
    "journal": journal,
    "attempts": attempts,
    "approvals": approvals,
    "keys": keys,
    "put_call": put_call,
    "use_approval": use_approval,
    "end_call": end_call,
    "wake": wake,
    "mark_unknown": mark_unknown,
    "release_call": release_call,
    "fail_unsent": fail_unsent,
    "own_call": own_call,
    "put_envelope": put_envelope,
    "open_approval": open_approval,
    "withdraw_approval": withdraw_approval,
    "withdraw_visit": withdraw_visit,
    "expire_approval": expire_approval,
    "put_denied": put_denied,
    "graph": graph,
    "run_pins": run_pins,
    "known_envelopes": known_envelopes,
}
