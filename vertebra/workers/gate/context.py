"""Who acts: a sealed context of this very run, alive, held by this node's agent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vertebra.activities.world import World
from vertebra.policies.seal import ContextFields, is_sealed
from vertebra.schemas.call import CallError, Hold
from vertebra.schemas.context import Grant
from vertebra.schemas.signed import instant
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row
from vertebra.workers.gate.element import Denied, Element, GateCall, Held, Seen, Verdict


def reads(call: GateCall) -> Sequence[Query]:
    """The run's row, and the context with its ancestors."""
    return (
        Query("run", named("gate", "run"), {"run": call.run}),
        Query("contexts", named("gate", "contexts"), {"context": call.context or ""}),
    )


def judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    """Refuse an ended run, a foreign or forged context; hold for renewal what has expired."""
    if seen.run["ended_at"] is not None:
        return _denied(call, "RunEnded", f"run {call.run!r} has ended", f"vertebra resume {call.run}")
    line = seen.of("context", 1)
    if not line:
        return _denied(
            call, "PermissionDenied", "the call carries no context that is known here", "start it through a run"
        )
    if any(row["run"] != call.run for row in line) or line[0]["agent"] != call.agent:
        return _denied(call, "PermissionDenied", "the context belongs to another run or agent", "use the run's own")
    if line[-1]["parent"] is not None or not _sealed(line, world):
        return _denied(call, "TamperedRow", f"context {line[0]['id']} does not carry its seal", "ask an admin")
    return _expired(line, seen.now)


def grant_of(row: Row) -> Grant:
    """The rights that a context's row holds."""
    return Grant.model_validate_json(bytes(row["grant"]))


def _sealed(line: list[Row], world: World) -> bool:
    above: bytes | None = None
    for row in reversed(line):
        key = world.seal_keys.get(row["key_id"])
        if key is None or not is_sealed(_fields(row), above, bytes(row["seal"]), key):
            return False
        above = bytes(row["seal"])
    return True


def _fields(row: Row) -> ContextFields:
    return ContextFields(
        id=row["id"],
        tenant=row["tenant"],
        run=row["run"],
        parent=row["parent"],
        agent=row["agent"],
        grant=bytes(row["grant"]),
        depth=row["depth"],
        expires_at=None if row["expires_at"] is None else instant(row["expires_at"]),
    )


def _expired(line: list[Row], now: datetime) -> Verdict:
    for row in line:
        if row["until"] is not None and row["until"] <= now:
            reason = f"context {row['id']} expired at {row['until']:%Y-%m-%d %H:%M:%S} UTC"
            return Held(Hold(kind="renewal", id=row["id"]), "context", reason)
    return None


def _denied(call: GateCall, kind: str, message: str, advice: str) -> Denied:
    error = CallError(type=kind, message=message, node=call.node.id, visit=call.given.visit, do=advice)
    return Denied("context", error)


ELEMENT = Element("context", reads=reads, judge=judge)
