"""Names of things: run, activity and derived ids. Pure; time and randomness are arguments."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Literal, NewType

RunId = NewType("RunId", str)
"""Temporal's workflow id: `<graph>-<ULID>`, or what the starter brought."""
NodeId = NewType("NodeId", str)
ActivityId = NewType("ActivityId", str)
"""`node_path#visit[.turn[.call]]`."""
CallId = NewType("CallId", str)
ContextId = NewType("ContextId", str)
ApprovalId = NewType("ApprovalId", str)
Tenant = NewType("Tenant", str)

DEFAULT_TENANT = Tenant("default")
RUNS, EFFECTS = "vertebra", "vertebra-effects"
"""Temporal's queues: of workflows with their recorded steps, and of gated activities."""
RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
GRAPH_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
NODE_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
SECRET = re.compile(r"secret://(?:env/(?P<env>[A-Za-z_][A-Za-z0-9_]*)|file/(?P<file>[^\0\s]+))")
"""The name of a secret, never its value."""
ENDPOINT = re.compile(r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[^\s?#@]*)?")
"""The address of a model server: no user, no query, nothing that could hold a secret."""

Derived = Literal["call", "reservation", "intent", "approval", "context"]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def activity_id(node_path: str, visit: int, turn: int | None = None, call: int | None = None) -> ActivityId:
    """The id under which Temporal schedules one call of a visit; `llm` and `agent` calls always carry the turn."""
    parts = [str(part) for part in (visit, turn, call) if part is not None]
    return ActivityId(f"{node_path}#{'.'.join(parts)}")


def node_of(activity: str) -> tuple[NodeId, int]:
    """Node path and visit of an activity id. Raises ValueError if it is none."""
    path, _, rest = activity.rpartition("#")
    return NodeId(path), int(rest.split(".", 1)[0])


def node_order(activity: str) -> tuple[NodeId, tuple[int, ...]]:
    """Sorts activity ids by node, then by visit, turn and call as numbers."""
    path, _, rest = activity.rpartition("#")
    return NodeId(path), tuple(int(part) for part in rest.split("."))


def derive(run: str, activity: str, call_digest: str, what: Derived, round_: int | None = None) -> str:
    """The id of a row that belongs to one call, so that a repeated step finds its row: 26 characters of base32."""
    parts = [run, activity, call_digest, what] + ([] if round_ is None else [str(round_)])
    return base64.b32encode(hashlib.sha256("\n".join(parts).encode()).digest()).decode()[:26]


def trace_id(correlation: str) -> str:
    """The trace of everything under one correlation id: 32 hex digits, as OpenTelemetry has them."""
    return hashlib.sha256(f"vertebra/trace/{correlation}".encode()).hexdigest()[:32]


def span_id(*parts: str) -> str:
    """The span of one thing, the same however often it is told: 16 hex digits."""
    return hashlib.sha256("\n".join(("vertebra/span", *parts)).encode()).hexdigest()[:16]


def ulid(time_ms: int, entropy: bytes) -> str:
    """A ULID of a time in milliseconds since 1970 and ten random bytes."""
    number = (time_ms << 80) | int.from_bytes(entropy[:10], "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))
