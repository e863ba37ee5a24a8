"""`store/sql/steps.sql` over rows in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

from vertebra.audit.chain import first_hash
from vertebra.testing.answers.gate import PUBLIC, SIGNED, until
from vertebra.testing.answers.taken import by_time, columns, one, open_runs
from vertebra.testing.rows import Answer, Params, Row, Rows

_COMMAND = SIGNED + " id run epoch node visit at consumed_at applied_at refused_at"


def newest_graph(rows: Rows, p: Params) -> list[Row]:
    named = [row for row in rows.of("graphs", name=p["name"]) if p["version"] in (None, row["version"])]
    served = [row for row in named if p["drafts"] or not row["draft"] or row["version"] == p["version"]]
    wanted = "name version digest bytes principal draft tenant published_by statement signature key at"
    newest = sorted(served, key=lambda row: row["at"])[-1:]
    return [columns(row, wanted, now=rows.now) for row in newest]


def person(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("people") if row["name"] in p["names"] or row["key"] in p["keys"]]
    return [columns(row, PUBLIC + " service") for row in found]


def run_row(rows: Rows, p: Params) -> list[Row]:
    wanted = """id tenant chain execution_id epoch resume_command graph_digest state ended_at correlation_id input
        input_artifact output output_artifact error"""
    return [columns(row, wanted) for row in one(rows.get("runs", p["run"]))]


def run_contexts(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("contexts", run=p["run"]) if row["parent"] is None or row["depth"] == 1]
    return [columns(row, "id agent") for row in sorted(found, key=lambda row: row["id"])]


def taken_events(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("envelopes", run=p["run"], kind="plan") if b'"inline":{"event":' in row["body"]]
    return [columns(row, "node visit body") for row in sorted(found, key=lambda row: row["id"])]


def claim_run(rows: Rows, p: Params) -> list[Row]:
    given = """tenant id chain execution_id graph version graph_digest correlation_id principal started_by input
        input_digest limit_microusd limit_tokens on_breach"""
    row = {
        **columns(dict(p), given),
        "epoch": 0,
        "resume_command": None,
        "project_id": None,
        "state": "running",
        "input_artifact": None,
        "output": None,
        "output_artifact": None,
        "error": None,
        "audit_seq": 0,
        "audit_hash": first_hash(p["id"]),
        **dict.fromkeys(("spent_microusd", "spent_tokens", "held_microusd", "held_tokens"), 0),
        "counters": {},
        "touched_at": rows.now,
        "started_at": rows.now,
        "ended_at": None,
    }
    return [columns(row, "id audit_seq audit_hash")] if rows.add("runs", (p["id"],), row) else []


def put_context(rows: Rows, p: Params) -> None:
    rows.add("contexts", (p["id"],), {**p, "at": rows.now})


def touch_execution(rows: Rows, p: Params) -> None:
    for _ in one(rows.get("runs", p["run"])):
        rows.change("runs", (p["run"],), execution_id=p["execution_id"])


def clear_waits(rows: Rows, p: Params) -> None:
    for row in rows.of("waits", run=p["run"]):
        if row["ref"] not in p["refs"]:
            rows.delete("waits", _wait(row))


def put_wait(rows: Rows, p: Params) -> None:
    key = _wait(p)
    if rows.add("waits", key, {**p, "since": rows.now}):
        return
    standing = rows.get("waits", *key)
    if standing is not None and (standing["round"], standing["error"]) != (p["round"], p["error"]):
        rows.change("waits", key, round=p["round"], error=p["error"], since=rows.now)


def set_state(rows: Rows, p: Params) -> None:
    for row in open_runs(rows, p["run"]):
        if row["state"] != p["state"]:
            rows.change("runs", (p["run"],), state=p["state"], touched_at=rows.now)


def asked_approvals(rows: Rows, p: Params) -> list[Row]:
    wanted = """id run node visit activity_id kind subject round digest assign backup escalate_after expires_at state"""
    found = [row for row in rows.of("approvals") if row["id"] in p["ids"]]
    return [columns(row, wanted, now=rows.now) for row in found]


def asked_before(rows: Rows, p: Params) -> list[Row]:
    found = rows.of("approvals", run=p["run"], activity_id=p["activity_id"], kind="human")
    mine = [row for row in found if p["id"] in (None, row["id"])]
    return [columns(row, "id round digest state expires_at") for row in sorted(mine, key=lambda row: row["round"])]


def asked_decisions(rows: Rows, p: Params) -> list[Row]:
    asked = {row["id"]: row for row in rows.of("approvals") if row["id"] in p["ids"]}
    found = by_time(row for row in rows.of("decisions") if row["approval"] in asked)
    undecided = [row for row in found if asked[row["approval"]]["state"] in ("pending", "expired", "withdrawn")]
    wanted = _within([row for row in undecided if row["consumed_at"] is None], p)
    wanted |= {row["id"] for row in found if row["at"] == asked[row["approval"]]["decided_at"]}
    return [columns(row, SIGNED + " approval digest at consumed_at") for row in found if row["id"] in wanted]


def run_commands(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in by_time(rows.of("commands", run=p["run"])) if row["verb"] not in ("event", "resume")]
    wanted = _within([row for row in found if row["consumed_at"] is None], p)
    wanted |= _standing(rows, [row for row in found if row["consumed_at"] and not row["refused_at"]], p)
    return [columns(row, _COMMAND) for row in found if row["id"] in wanted]


def _within(unread: list[Row], p: Params) -> set[object]:
    """The oldest of these rows, as many and as large as one look may read."""
    ids, size = set(), 0
    for row in unread[: p["most"]]:
        if size < p["most_bytes"]:
            ids.add(row["id"])
        size += len(row["arguments"] or b"")
    return ids


def _standing(rows: Rows, looked_at: list[Row], p: Params) -> set[object]:
    """Of what was looked at before, what may still answer."""
    asked = set(zip(p["nodes"], p["visits"], strict=True))
    epochs = [row["epoch"] for row in one(rows.get("runs", p["run"]))]
    said = [
        row
        for row in looked_at
        if row["verb"] in ("retry", "skip", "override") and (row["node"], row["visit"]) in asked
    ]
    said.sort(key=lambda row: row["applied_at"] is not None)
    said = said[max(0, len(said) - p["most"]) :]
    ends = [row for row in looked_at if row["verb"] in ("abort", "cancel") and row["epoch"] in epochs][:1]
    newest = [[row for row in looked_at if row["verb"] == verb][-1:] for verb in ("top_up", "renew")]
    return {row["id"] for row in (*said, *ends, *newest[0], *newest[1])}


def sent_events(rows: Rows, p: Params) -> list[Row]:
    sent = by_time(rows.of("commands", run=p["run"], verb="event"))
    asked = set(zip(p["nodes"], p["visits"], strict=True))
    took = [row["body"] for row in taken_events(rows, p) if (row["node"], row["visit"]) in asked]
    ids: set[object] = {json.loads(body)["inline"]["event"] for body in took}
    ids |= _within([row for row in sent if row["applied_at"] is None and row["refused_at"] is None], p)
    return [columns(row, _COMMAND) for row in sent if row["id"] in ids]


def signers(rows: Rows, p: Params) -> list[Row]:
    asked = {row["id"] for row in rows.of("approvals", run=p["run"])}
    said = [*rows.of("commands", run=p["run"]), *(row for row in rows.of("decisions") if row["approval"] in asked)]
    names, used = {row["person"] for row in said}, {row["key"] for row in said}
    found = [row for row in rows.of("people") if row["name"] in names or row["key"] in used]
    return [columns(row, PUBLIC + " service") for row in found]


def decide_approval(rows: Rows, p: Params) -> None:
    for _ in rows.of("approvals", id=p["id"], state="pending"):
        rows.change("approvals", (p["id"],), state=p["state"], decided_at=p["at"])


def consume_decision(rows: Rows, p: Params) -> list[Row]:
    found = rows.of("decisions", approval=p["approval"], nonce=p["nonce"], consumed_at=None)
    for row in found:
        rows.change("decisions", (row["key"], row["nonce"]), consumed_at=rows.now)
    return [_delivered(rows, row, "decision") for row in found]


def consume_command(rows: Rows, p: Params) -> list[Row]:
    found = rows.of("commands", id=p["id"], consumed_at=None)
    for row in found:
        rows.change("commands", (row["id"],), consumed_at=rows.now)
    return [_delivered(rows, row, "event" if row["verb"] == "event" else "command") for row in found]


def _delivered(rows: Rows, row: Row, kind: str) -> Row:
    return {"kind": kind, "seconds": (rows.now - row["at"]).total_seconds()}


def refuse_command(rows: Rows, p: Params) -> None:
    for _ in rows.of("commands", id=p["id"], refused_at=None):
        rows.change("commands", (p["id"],), refused_at=rows.now)


def apply_command(rows: Rows, p: Params) -> None:
    for _ in rows.of("commands", id=p["id"], applied_at=None):
        rows.change("commands", (p["id"],), applied_at=rows.now)


def put_aside(rows: Rows, p: Params) -> None:
    for row in rows.of("commands", run=p["run"], applied_at=None):
        if row["id"] in p["ids"]:
            rows.change("commands", (row["id"],), applied_at=rows.now)


def open_call(rows: Rows, p: Params) -> None:
    for row in rows.of("calls", run=p["run"], activity_id=p["activity_id"]):
        if row["status"] in ("failed", "unknown"):
            rows.change("calls", (row["id"],), status="open", opened_by=p["command"], error=None, ended_at=None)


def put_renewal(rows: Rows, p: Params) -> None:
    found = [row for row in rows.of("contexts", run=p["run"]) if p["context"] in (None, row["id"])]
    for row in sorted(found, key=lambda row: row["depth"])[:1]:
        ends = rows.now + timedelta(seconds=p["seconds"])
        renewal = {"tenant": row["tenant"], "command": p["command"], "context": row["id"], "expires_at": ends}
        rows.add("renewals", (p["command"],), {**renewal, "at": rows.now})


def context_lives(rows: Rows, p: Params) -> list[Row]:
    return [
        {"id": row["id"], "now": rows.now, "until": until(rows, _line(rows, row))}
        for row in rows.of("contexts", run=p["run"])
    ]


def done_wake(rows: Rows, p: Params) -> None:
    for row in rows.of("outbox", run=p["run"], kind="wake", done_at=None):
        if p["refs"] is None or row["ref"] in p["refs"]:
            rows.change("outbox", (row["kind"], row["run"], row["ref"]), done_at=rows.now)


def open_approvals(rows: Rows, p: Params) -> list[Row]:
    found = rows.of("approvals", run=p["run"], state="pending")
    return [columns(row, "id assign backup escalate_after expires_at", now=rows.now) for row in found]


def end_run(rows: Rows, p: Params) -> list[Row]:
    found: list[Row] = []
    for row in open_runs(rows, p["run"]):
        ended = columns(dict(p), "state output output_artifact error")
        rows.change("runs", (p["run"],), **ended, ended_at=rows.now, touched_at=rows.now)
        seconds = (rows.now - row["started_at"]).total_seconds()
        found.append({"graph": row["graph"], "state": p["state"], "seconds": seconds})
    return found


def withdraw_approvals(rows: Rows, p: Params) -> None:
    for row in rows.of("approvals", run=p["run"], state="pending"):
        rows.change("approvals", (row["id"],), state="withdrawn")


def answered_calls(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("calls", run=p["run"]) if row["activity_id"] in p["activity_ids"]]
    return [columns(row, "id activity_id") for row in found if row["status"] in ("done", "failed")]


def _wait(row: Params) -> tuple[object, ...]:
    return tuple(row[name] for name in ("run", "node", "visit", "kind", "ref"))


def _line(rows: Rows, row: Row) -> list[Row]:
    """A context and its ancestors, nearest first."""
    line = [row]
    while (above := rows.get("contexts", line[-1]["parent"])) is not None:
        line.append(above)
    return line


ANSWERS: Mapping[str, Answer] = {
    "newest_graph": newest_graph,
    "person": person,
    "run_row": run_row,
    "run_contexts": run_contexts,
    "taken_events": taken_events,
    "claim_run": claim_run,
    "put_context": put_context,
    "touch_execution": touch_execution,
    "clear_waits": clear_waits,
    "put_wait": put_wait,
    "set_state": set_state,
    "asked_approvals": asked_approvals,
    "asked_before": asked_before,
    "asked_decisions": asked_decisions,
    "run_commands": run_commands,
    "sent_events": sent_events,
    "signers": signers,
    "decide_approval": decide_approval,
    "consume_decision": consume_decision,
    "consume_command": consume_command,
    "refuse_command": refuse_command,
    "apply_command": apply_command,
    "put_aside": put_aside,
    "open_call": open_call,
    "put_renewal": put_renewal,
    "context_lives": context_lives,
    "done_wake": done_wake,
    "open_approvals": open_approvals,
    "end_run": end_run,
    "withdraw_approvals": withdraw_approvals,
    "answered_calls": answered_calls,
}
