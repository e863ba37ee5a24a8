"""Calls at the gate and the rows that it reads, for tests of its elements without a database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

from tests import make
from vertebra.activities.watch import SILENT
from vertebra.activities.world import World
from vertebra.policies.signature import SigningKey, sign
from vertebra.schemas.call import CallInput, Prepared
from vertebra.schemas.canonical import Json, canonical_bytes, digest_of, json_text
from vertebra.schemas.graph import Approval, Condition, Guardrail, Node
from vertebra.schemas.ids import derive
from vertebra.schemas.signed import Statement, instant
from vertebra.store.transaction import Row
from vertebra.workers.gate.element import GateCall, Seen

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOTHING = cast("World", SimpleNamespace(watch=SILENT))
"""The elements under test look at rows only."""
ADA = SigningKey(b"a" * 32)
ASKS = Approval(assign=("support_lead",))
CAP = Guardrail(
    id="cap", on="*", at="before", action="pause", when=Condition(source="sum_tokens > 5", text="sum(tokens) > 5")
)
BOOKS: Row = {
    "ended": True,
    "id": "run",
    "tenant": "default",
    "state": "running",
    "epoch": 0,
    "ended_at": None,
    "correlation_id": "run",
    "audit_seq": 0,
    "audit_hash": b"0" * 32,
    "limit_microusd": None,
    "limit_tokens": None,
    "on_breach": "pause",
    "spent_microusd": 0,
    "spent_tokens": 0,
    "held_microusd": 0,
    "held_tokens": 0,
    "counters": {},
}


def person(**changed: object) -> Row:
    row: Row = {
        "name": "ada",
        "key": ADA.id,
        "public_key": ADA.public,
        "roles": ["support_lead", "operator"],
        "signer": False,
        "revoked_at": None,
    }
    return {**row, **changed}


def call(
    arguments: Mapping[str, Json],
    *,
    node: Node | None = None,
    activity_id: str = "send#1",
    tool_call: str | None = None,
    effect: str = "irreversible",
) -> GateCall:
    """A tool call that wants through."""
    node = node or make.tool("send", effect=effect, approval=ASKS)
    request = canonical_bytes(
        {"kind": "tool", "tool": "send_email", "tool_pin": "sha256:0", "arguments": json_text(dict(arguments))}
    )
    digest = digest_of(request)
    prepared = Prepared.model_validate(
        {"kind": "tool", "request": request, "digest": digest, "effect": effect, "tool": "send_email"}
        | {"arguments": dict(arguments)}
    )
    given = CallInput(kind="tool", node=node.id, visit=1, tool="send_email", tool_call=tool_call)
    return GateCall(
        run="run",
        tenant="default",
        correlation_id="run",
        activity_id=activity_id,
        execution_id="execution",
        worker="worker",
        graph=make.graph([node], guardrails=(CAP,)),
        node=node,
        given=given,
        prepared=prepared,
        context="context",
        id=derive("run", activity_id, digest, "call"),
    )


def approval(of: GateCall, state: str, round_: int = 1, kind: str = "effect", **changed: object) -> Row:
    """A row of the gate's query, undecided."""
    row: Row = {
        "id": f"approval-{kind}-{round_}",
        "run": of.run,
        "activity_id": of.activity_id,
        "kind": kind,
        "subject": "" if kind == "effect" else "cap",
        "round": round_,
        "request": of.prepared.request,
        "digest": of.prepared.digest,
        "assign": ["support_lead"] if kind == "effect" else ["operator"],
        "backup": [],
        "escalate_after": None,
        "expires_at": NOW + timedelta(days=7),
        "state": state,
        "used_by": None,
        "reopened": False,
    }
    empty = ("verb", "arguments", "arguments_digest", "reason", "person", "key", "nonce", "statement", "signature")
    return {**row, **dict.fromkeys(empty), "decided_at": None, **changed}


def decided(row: Row, verb: str, arguments: Json = None, reason: str | None = None) -> Row:
    """The row with ada's decision."""
    text = None if arguments is None else json_text(arguments)
    says = {
        "kind": "decision",
        "id": row["id"],
        "run": row["run"],
        "digest": row["digest"],
        "verb": verb,
        "arguments_digest": None if text is None else digest_of(text.encode()),
        "reason": reason,
        "person": "ada",
        "key": ADA.id,
        "at": instant(NOW),
        "nonce": f"nonce of {row['id']}",
    }
    statement = Statement.model_validate(says)
    columns = ("verb", "arguments_digest", "reason", "person", "key", "nonce")
    return {
        **row,
        **{name: says[name] for name in columns},
        "arguments": None if text is None else text.encode(),
        "decided_at": NOW,
        "statement": statement.canonical,
        "signature": sign(statement, ADA),
    }


def journalled(of: GateCall, status: str, **changed: object) -> Row:
    """A row of the journal."""
    row: Row = {
        "id": of.id,
        "call_digest": of.prepared.digest,
        "asked_digest": None,
        "effect": of.prepared.effect,
        "status": status,
        "result": json.dumps({"result": "sent"}).encode(),
        "error": None,
        "opened_by": None,
    }
    return {**row, **changed}


def seen(
    approvals: Sequence[Row] = (),
    people: Sequence[Row] | None = None,
    journal: Sequence[Row] = (),
    attempts: Sequence[Row] = (),
) -> Seen:
    """What the first trip brought."""
    return Seen(
        rows={
            "context": [[{"now": NOW}]],
            "approval": [list(approvals), list(people if people is not None else [person()])],
            "journal": [list(journal), list(attempts)],
        }
    )
