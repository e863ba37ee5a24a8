"""`store/sql/audit.sql` over rows in memory: entries are appended at the head that the writer saw, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from vertebra.audit.chain import first_hash
from vertebra.schemas.errors import AuditRefused
from vertebra.testing.answers.taken import columns
from vertebra.testing.rows import Answer, Params, Row, Rows


def append_run(rows: Rows, p: Params) -> list[Row]:
    row = rows.get("runs", p["stream"])
    found = None if row is None else (row["audit_seq"], row["audit_hash"])
    seq = _append(rows, p, found, row["tenant"] if row else "")
    rows.change("runs", (p["stream"],), audit_seq=seq, audit_hash=p["hashes"][-1])
    return [{"seq": seq}]


def append_stream(rows: Rows, p: Params) -> list[Row]:
    row = rows.get("streams", p["stream"])
    found = None if row is None else (row["seq"], row["hash"])
    seq = _append(rows, p, found, row["tenant"] if row else "")
    rows.change("streams", (p["stream"],), seq=seq, hash=p["hashes"][-1])
    return [{"seq": seq}]


def stream_head(rows: Rows, p: Params) -> list[Row]:
    stream = p["stream"]
    if stream != f"admin/{p['tenant']}":
        raise AuditRefused(f"stream {stream} is not admin/{p['tenant']}", head_moved=False)
    rows.add("streams", (stream,), {"name": stream, "tenant": p["tenant"], "seq": 0, "hash": first_hash(stream)})
    found = rows.get("streams", stream)
    assert found is not None
    return [columns(found, "seq hash")]


def entries(rows: Rows, p: Params) -> list[Row]:
    found = [row for row in rows.of("audit", stream=p["stream"]) if row["seq"] > p["after"]]
    wanted = "stream seq body prev_hash hash mac key_id"
    return [columns(row, wanted) for row in sorted(found, key=lambda row: row["seq"])[: p["limit"]]]


def _append(rows: Rows, p: Params, head: tuple[int, bytes] | None, tenant: str) -> int:
    bodies, hashes, macs = p["bodies"], p["hashes"], p["macs"]
    if not bodies or not len(bodies) == len(hashes) == len(macs):
        raise AuditRefused("an append needs as many hashes and macs as bodies, and at least one", head_moved=False)
    if head != (p["seq"], p["prev_hash"]):
        raise AuditRefused(f"stream {p['stream']} is not at sequence {p['seq']} with that hash", head_moved=True)
    seq: int = p["seq"]
    prev: bytes = p["prev_hash"]
    for body, hash_, mac in zip(bodies, hashes, macs, strict=True):
        seq += 1
        if hashlib.sha256(body).digest() != hash_:
            raise AuditRefused(f"entry {seq} does not have the hash of its body", head_moved=False)
        row: dict[str, Any] = {"tenant": tenant, "stream": p["stream"], "seq": seq, "body": body, "prev_hash": prev}
        rows.insert("audit", (p["stream"], seq), {**row, "hash": hash_, "mac": mac, "key_id": p["key_id"]})
        prev = hash_
    return seq


ANSWERS: Mapping[str, Answer] = {
    "append_run": append_run,
    "append_stream": append_stream,
    "stream_head": stream_head,
    "entries": entries,
}
