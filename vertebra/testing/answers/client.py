"""`store/sql/client.sql` over rows in memory, as far as starts, decisions, commands and publishing use it."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.schemas.errors import Conflict
from vertebra.testing.answers import taken
from vertebra.testing.answers.taken import columns, one
from vertebra.testing.rows import Answer, Params, Row, Rows

PERSON = "name key public_key roles service signer enrolled_by enrolled_at revoked_at"
CHANGEABLE = ("roles", "service", "signer", "key")


def people(rows: Rows, p: Params) -> list[Row]:
    return [columns(row, PERSON) for row in sorted(rows.of("people"), key=lambda row: row["name"])]


def enrol(rows: Rows, p: Params) -> list[Row]:
    given = columns(dict(p), "tenant name public_key key roles service signer", enrolled_by=p["by"])
    if rows.add("people", (p["name"],), {**given, "enrolled_at": rows.now, "revoked_at": None}):
        return [{"name": p["name"]}]
    standing = rows.get("people", p["name"])
    assert standing is not None
    if standing["revoked_at"] is not None or all(standing[name] == given[name] for name in CHANGEABLE):
        return []
    kept = {name: given[name] if standing[name] is None else standing[name] for name in ("public_key", "key")}
    changed = columns(given, "roles service signer enrolled_by", **kept)
    rows.change("people", (p["name"],), **changed)
    return [{"name": p["name"]}]


def put_outbox(rows: Rows, p: Params) -> None:
    taken.put_outbox(rows, p)


def put_graph(rows: Rows, p: Params) -> None:
    if rows.of("graphs", digest=p["digest"]):
        raise Conflict("a graph of this digest is stored already", constraint="graphs_digest_uq")
    row = columns(dict(p), "tenant name version digest bytes engine principal draft key nonce statement signature")
    rows.insert("graphs", (p["name"], p["version"]), {**row, "published_by": p["person"], "at": rows.now})


def versions(rows: Rows, p: Params) -> list[Row]:
    found = sorted(rows.of("graphs", name=p["name"]), key=lambda row: row["at"], reverse=True)
    return [columns(row, "version digest draft at") for row in found]


def approval(rows: Rows, p: Params) -> list[Row]:
    wanted = """id tenant run node visit kind subject round request digest assign backup escalate_after expires_at state
        used_by at"""
    found: list[Row] = []
    for row in one(rows.get("approvals", p["id"])):
        run_ = rows.get("runs", row["run"])
        assert run_ is not None
        found.append(columns(row, wanted, **columns(run_, "graph version graph_digest"), now=rows.now))
    return found


def put_decision(rows: Rows, p: Params) -> None:
    row = {**p, "id": rows.serial(), "at": rows.now, "consumed_at": None}
    rows.insert("decisions", (p["key"], p["nonce"]), row)


def put_command(rows: Rows, p: Params) -> None:
    if any(row["key"] == p["key"] for row in rows.of("commands", nonce=p["nonce"])):
        raise Conflict("this nonce was used before", constraint="commands_key_nonce_uq")
    rows.insert(
        "commands", (p["id"],), {**p, "at": rows.now, "consumed_at": None, "applied_at": None, "refused_at": None}
    )


def unread_events(rows: Rows, p: Params) -> list[Row]:
    sent = rows.of("commands", run=p["run"], verb="event", applied_at=None, refused_at=None)
    sizes = [len(row["arguments"] or b"") for row in sent]
    return [{"number": len(sizes), "bytes": sum(sizes)}]


def put_revocation(rows: Rows, p: Params) -> None:
    rows.insert("revocations", (p["id"],), {**p, "at": rows.now, "lifted_at": None})


def run(rows: Rows, p: Params) -> list[Row]:
    wanted = """id tenant chain execution_id epoch graph version graph_digest correlation_id principal started_by state
        input input_digest output output_artifact error audit_seq limit_microusd limit_tokens on_breach spent_microusd
        spent_tokens held_microusd held_tokens started_at ended_at"""
    return [columns(row, wanted, now=rows.now) for row in one(rows.get("runs", p["run"]))]


def waits(rows: Rows, p: Params) -> list[Row]:
    found = sorted(rows.of("waits", run=p["run"]), key=lambda row: (row["since"], row["node"], row["visit"]))
    return [columns(row, "node visit kind ref round error since until") for row in found]


ANSWERS: Mapping[str, Answer] = {
    "people": people,
    "enrol": enrol,
    "put_outbox": put_outbox,
    "put_graph": put_graph,
    "versions": versions,
    "approval": approval,
    "put_decision": put_decision,
    "put_command": put_command,
    "unread_events": unread_events,
    "put_revocation": put_revocation,
    "run": run,
    "waits": waits,
}
