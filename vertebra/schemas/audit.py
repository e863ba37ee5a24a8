"""One audit entry: what was done, by whom, with what result. Its canonical bytes are what is hashed, and stored.

Every field is present in every entry, null where it does not apply, so that a reader sees what was left out. Content
is `{sha256, size, text}`: digest and size are of the UTF-8 bytes of the content as it was, and the text is a string, so
that no output is unwritable. A lone surrogate, which has no UTF-8 form, is counted and written as its escape `\\udXXX`;
a NUL is an ordinary character here, since entries are stored as bytes.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Literal, NewType, TypeAlias

from vertebra.schemas.canonical import NotCanonical, canonical_bytes
from vertebra.schemas.record import Recorded

StreamName = NewType("StreamName", str)
"""A run id, or `admin/<tenant>` for what belongs to no run."""

Phase = Literal["intent", "outcome", "event"]
"""Two entries per effect; everything else is an event."""
Detail: TypeAlias = str | int | bool | None
OPERATIONS = (
    *("llm_call", "tool_execution", "http_request", "code_execution"),
    *("run_start", "run_end", "run_refused", "resumed", "node_ended", "edge_taken", "context_granted"),
    *("approval_asked", "approval_reminder", "approval_escalated", "approval_decided", "approval_expired"),
    *("command_retry", "command_skip", "command_override", "command_abort", "command_cancel", "command_resume"),
    *("command_renew", "command_top_up", "command_event", "command_refused", "decision_refused"),
    *("event_taken", "event_refused"),
    *("graph_published", "publication_refused", "right_revoked", "revocation_refused"),
    *("person_enrolled", "person_revoked", "person_refused", "administration_refused"),
)
"""Every operation that an entry of this release may tell of."""
RESERVED = frozenset({"prev_hash", "seq", "stream"})
"""What only the sealing writes, so that a reader finds each in one place of the body."""


class Content(Recorded):
    """Text that went in or out. `text` may be cut or left out by a retention rule; digest and size are of the whole."""

    sha256: str
    size: int
    text: str | None

    @classmethod
    def of(cls, text: str, *, keep: int | None = None) -> Content:
        """The content of a text; at most `keep` characters of it are kept readable, all by default."""
        writable = text.encode("utf-8", "backslashreplace")
        kept = writable.decode("utf-8") if keep is None else writable.decode("utf-8")[:keep]
        return cls(sha256=hashlib.sha256(writable).hexdigest(), size=len(writable), text=kept)


class Entry(Recorded):
    """What the writer knows; stream, sequence and `prev_hash` are added when it is sealed."""

    time: str
    """UTC, microseconds: `2026-01-31T09:30:00.000000Z`. Order is the sequence: clocks jump."""
    operation: str
    """`llm_call`, `tool_execution`, `agent_execute`, `run_start`, `approval_decided`, .."""
    phase: Phase
    actor: str
    """Who acted: a person, a service, `temporal`, or the run's principal."""
    outcome: str | None = None
    """Of an outcome: `done`, `failed`, `denied`, `held`, `late`, `unknown`, `released`."""
    success: bool | None = None
    run: str | None = None
    node: str | None = None
    visit: int | None = None
    activity: str | None = None
    call: str | None = None
    attempt: int | None = None
    agent: str | None = None
    spine: str | None = None
    context: str | None = None
    input: Content | None = None
    output: Content | None = None
    duration_ms: int | None = None
    error: str | None = None
    correlation_id: str | None = None
    cost_microusd: int | None = None
    tokens: int | None = None
    policy_version: str | None = None
    tool_pin: str | None = None
    region: str | None = None
    detail: dict[str, Detail] = {}
    """Small facts of this operation, by ASCII name. No content."""


class Head(Recorded):
    """Where a stream ends: the sequence and hash of its last entry, or 0 and the stream's first hash."""

    stream: str
    seq: int
    hash: bytes


class Sealed(Recorded):
    """One entry as it is stored."""

    stream: str
    seq: int
    body: bytes
    prev_hash: bytes
    hash: bytes
    mac: bytes
    key_id: str


def entry_body(entry: Entry, stream: str, seq: int, prev_hash: bytes) -> bytes:
    """The canonical bytes that are hashed: all fields of the entry, and where it stands. Raises NotCanonical."""
    if not RESERVED.isdisjoint(entry.detail):
        raise NotCanonical(f"no detail may be named {', '.join(sorted(RESERVED))}")
    plain = {name: _writable(value) for name, value in vars(entry).items()}
    return canonical_bytes({**plain, "v": 1, "stream": stream, "seq": seq, "prev_hash": prev_hash.hex()})


def timestamp(at: datetime) -> str:
    """An aware time as an entry holds it. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("an audit entry needs an aware time")
    # not strftime, which writes a year before 1000 with fewer digits: times are compared as texts
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _writable(value: object) -> str | int | dict[str, Detail] | None:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Content):
        return {"sha256": value.sha256, "size": value.size, "text": value.text}
    if isinstance(value, dict):
        return {key: item if not isinstance(item, str) else str(_writable(item)) for key, item in value.items()}
    assert value is None or isinstance(value, int)
    return value
