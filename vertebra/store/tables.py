"""Every row that vertebra keeps, as SQLAlchemy Core metadata: the one place where columns are named and typed.

Bytes that are hashed or signed are `bytea`; `jsonb` is only for loose counters. Money is bigint micro-USD. Every table
has `tenant`; row security by tenant is a matter of later roles, in this version nothing but the column tells tenants
apart. No foreign key cascades: nothing that deletes a run could reach audit, ledger or approvals.
"""

from __future__ import annotations

from typing import Any, get_args

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from vertebra.schemas.run import MAX_ORDERS_BYTES, MAX_SAID_BYTES, RunEnd, RunState

METADATA = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
        "ck": "%(table_name)s_%(constraint_name)s_ck",
    }
)

NOW = text("now()")
APPROVAL_STATES = ("pending", "approved", "edited", "denied", "expired", "withdrawn")
CALL_STATUSES = ("intended", "done", "failed", "open", "unknown", "released")
ATTEMPT_STATES = ("held", "settled", "released", "unknown")
RUN_STATES = (*get_args(RunState), *get_args(RunEnd))

_C = Column[Any]


def _text(name: str, *, null: bool = False, key: bool = False, default: str | None = None) -> _C:
    return Column(name, Text, nullable=null, primary_key=key, server_default=default)


def _bytes(name: str, *, null: bool = False) -> _C:
    return Column(name, LargeBinary, nullable=null)


def _int(name: str, *, null: bool = False, key: bool = False, default: int | None = None) -> _C:
    given = None if default is None else str(default)
    return Column(name, Integer, nullable=null, primary_key=key, autoincrement=False, server_default=given)


def _big(name: str, *, null: bool = False, key: bool = False, default: int | None = None) -> _C:
    given = None if default is None else str(default)
    return Column(name, BigInteger, nullable=null, primary_key=key, autoincrement=False, server_default=given)


def _flag(name: str, *, default: bool = False) -> _C:
    return Column(name, Boolean, nullable=False, server_default=text("true" if default else "false"))


def _when(name: str, *, null: bool = False, now: bool = False) -> _C:
    return Column(name, DateTime(timezone=True), nullable=null, server_default=NOW if now else None)


def _texts(name: str) -> _C:
    return Column(name, ARRAY(Text), nullable=False, server_default=text("'{}'"))


def _row_id() -> _C:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _run(*, null: bool = False) -> _C:
    return Column("run", Text, ForeignKey("runs.id"), nullable=null)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} in ({', '.join(repr(value) for value in values)})", name=f"{column}_known")


def _size(*columns: str) -> CheckConstraint:
    """No row holds more than a look of a run may read: what was signed, and what says so besides."""
    said = " + ".join(f"coalesce(octet_length({name}), 0)" for name in ("statement", "signature", *columns))
    arguments = "coalesce(octet_length(arguments), 0)"
    return CheckConstraint(f"{arguments} <= {MAX_ORDERS_BYTES} and {said} <= {MAX_SAID_BYTES}", name="size")


def _table(name: str, *parts: Any, fillfactor: int | None = None, keyed_by_tenant: bool = False) -> Table:
    tenant = Column("tenant", Text, nullable=False, primary_key=keyed_by_tenant, server_default="default")
    info = {"fillfactor": fillfactor} if fillfactor else {}
    return Table(name, METADATA, tenant, *parts, info=info)


def _signed() -> tuple[_C, ...]:
    """The signed statement as it was signed, and the columns that index it."""
    return (_text("person"), _text("key"), _text("nonce"), _bytes("statement"), _bytes("signature"))


graphs = _table(
    "graphs",
    _text("name", key=True),
    _text("version", key=True),
    _text("digest"),
    _bytes("bytes"),
    _int("engine"),
    _text("principal", null=True),
    _flag("draft"),
    _text("published_by"),
    _text("key"),
    _text("nonce"),
    _bytes("statement"),
    _bytes("signature"),
    _when("at", now=True),
    UniqueConstraint("digest"),
    UniqueConstraint("key", "nonce"),
    Index("graphs_newest", "name", "at"),
)

texts = _table(
    "texts", _text("digest", key=True), _text("kind"), _bytes("bytes"), _when("at", now=True), keyed_by_tenant=True
)

artifacts = _table(
    "artifacts",
    _text("sha256", key=True),
    _big("size"),
    _text("media_type"),
    _bytes("bytes", null=True),
    _text("place", null=True),
    _when("at", now=True),
    CheckConstraint("(bytes is null) <> (place is null)", name="one_place"),
    keyed_by_tenant=True,
)

people = _table(
    "people",
    _text("name", key=True),
    Column("public_key", LargeBinary, nullable=True),
    Column("key", Text, nullable=True, unique=True),
    _texts("roles"),
    _flag("service"),
    _flag("signer"),
    _text("enrolled_by"),
    _when("enrolled_at", now=True),
    _when("revoked_at", null=True),
)

runs = _table(
    "runs",
    _text("id", key=True),
    _text("chain"),
    _text("execution_id"),
    _int("epoch", default=0),
    _text("resume_command", null=True),
    _text("graph"),
    _text("version"),
    _text("graph_digest"),
    _text("base_run", null=True),
    _text("base_node", null=True),
    _text("parent", null=True),
    _text("correlation_id"),
    _text("project_id", null=True),
    _text("principal"),
    _text("started_by"),
    _text("state", default="running"),
    _bytes("input", null=True),
    _text("input_artifact", null=True),
    _text("input_digest"),
    _bytes("output", null=True),
    _text("output_artifact", null=True),
    _bytes("error", null=True),
    _big("audit_seq", default=0),
    _bytes("audit_hash"),
    _big("limit_microusd", null=True),
    _big("limit_tokens", null=True),
    _text("on_breach", default="reject"),
    _big("spent_microusd", default=0),
    _big("spent_tokens", default=0),
    _big("held_microusd", default=0),
    _big("held_tokens", default=0),
    Column("counters", JSONB, nullable=False, server_default=text("'{}'")),
    Column("lease", JSONB, nullable=True),
    _when("touched_at", now=True),
    _when("started_at", now=True),
    _when("ended_at", null=True),
    _one_of("state", RUN_STATES),
    _one_of("on_breach", ("reject", "pause", "abort")),
    CheckConstraint("held_microusd >= 0 and held_tokens >= 0", name="held_not_negative"),
    CheckConstraint("spent_microusd >= 0 and spent_tokens >= 0", name="spent_not_negative"),
    # touched_at changes with every effect: in no index, so that those updates stay inside their page (HOT)
    Index("runs_open", "tenant", "started_at", postgresql_where=text("ended_at is null")),
    Index("runs_newest", "tenant", "started_at"),
    Index("runs_correlation", "correlation_id"),
    fillfactor=70,
)

counters = _table(
    "counters",
    Column("run", Text, ForeignKey("runs.id"), primary_key=True),
    _text("scope", key=True),
    Column("figures", JSONB, nullable=False),
    fillfactor=70,
)

contexts = _table(
    "contexts",
    _text("id", key=True),
    Column("parent", Text, ForeignKey("contexts.id"), nullable=True),
    _run(),
    _text("agent"),
    _bytes("grant"),
    _int("depth"),
    _when("expires_at", null=True),
    _text("key_id"),
    _bytes("seal"),
    _when("at", now=True),
    Index("contexts_run", "run"),
)

commands = _table(
    "commands",
    _text("id", key=True),
    _run(),
    _int("epoch"),
    _text("node", null=True),
    _int("visit", null=True),
    _text("verb"),
    _bytes("arguments", null=True),
    _text("arguments_digest", null=True),
    _text("reason", null=True),
    *_signed(),
    _when("at", now=True),
    _when("expires_at", null=True),
    _when("consumed_at", null=True),
    _when("applied_at", null=True),
    _when("refused_at", null=True),
    UniqueConstraint("key", "nonce"),
    _size("person", "verb", "node", "reason", "arguments_digest"),
    Index("commands_run", "run", "at"),
    Index("commands_unread", "run", "at", postgresql_where=text("consumed_at is null")),
)

renewals = _table(
    "renewals",
    Column("command", Text, ForeignKey("commands.id"), primary_key=True),
    Column("context", Text, ForeignKey("contexts.id"), nullable=False),
    _when("expires_at"),
    _when("at", now=True),
    Index("renewals_context", "context"),
)

revocations = _table(
    "revocations",
    _text("id", key=True),
    _text("kind"),
    _text("target"),
    _text("reason"),
    *_signed(),
    _when("at", now=True),
    _when("lifted_at", null=True),
    UniqueConstraint("key", "nonce"),
    _one_of("kind", ("context", "person", "agent", "tool", "model", "vendor", "deny_rule")),
    Index("revocations_standing", "kind", "target", postgresql_where=text("lifted_at is null")),
)

calls = _table(
    "calls",
    _text("id", key=True),
    _run(),
    _text("activity_id"),
    _text("call_digest"),
    _text("asked_digest", null=True),
    _text("kind"),
    _text("effect"),
    _text("node"),
    _int("visit"),
    _text("context"),
    _text("status"),
    _bytes("result", null=True),
    _text("result_artifact", null=True),
    _bytes("error", null=True),
    _text("opened_by", null=True),
    _when("at", now=True),
    _when("ended_at", null=True),
    UniqueConstraint("run", "activity_id", "call_digest"),
    _one_of("status", CALL_STATUSES),
    fillfactor=80,
)

attempts = _table(
    "attempts",
    Column("call", Text, ForeignKey("calls.id"), primary_key=True),
    _int("n", key=True),
    _run(),
    _text("execution_id"),
    _text("worker"),
    _text("state", default="held"),
    _text("class", null=True),
    _flag("counts"),
    _big("reserved_microusd", default=0),
    _big("reserved_tokens", default=0),
    _big("settled_microusd", null=True),
    _big("settled_tokens", null=True),
    _flag("estimated"),
    _text("price_digest", null=True),
    _bytes("raw_usage", null=True),
    _text("opened_by", null=True),
    _when("started_at", now=True),
    _when("ended_at", null=True),
    _one_of("state", ATTEMPT_STATES),
    # the keeper's list of what is still held; state leaves the index once, at the end
    Index("attempts_held", "run", postgresql_where=text("state in ('held', 'unknown')")),
    fillfactor=80,
)

envelopes = _table(
    "envelopes",
    _row_id(),
    _run(),
    _text("node"),
    _int("visit"),
    _text("kind"),
    _bytes("body"),
    _text("digest"),
    _when("at", now=True),
    UniqueConstraint("run", "node", "visit", "kind", "digest"),
    _one_of("kind", ("task", "plan")),
)

waits = _table(
    "waits",
    Column("run", Text, ForeignKey("runs.id"), primary_key=True),
    _text("node", key=True),
    _int("visit", key=True),
    _text("kind", key=True),
    _text("ref", key=True, default=""),
    _int("round", default=1),
    _bytes("error", null=True),
    _when("since", now=True),
    _when("until", null=True),
    _one_of("kind", ("approval", "top_up", "renewal", "blocked", "event")),
)

approvals = _table(
    "approvals",
    _text("id", key=True),
    _run(),
    _text("node"),
    _int("visit"),
    _text("activity_id"),
    _int("round"),
    _text("kind"),
    _text("subject", default=""),
    _bytes("request"),
    _text("digest"),
    _texts("assign"),
    _texts("backup"),
    _when("escalate_after", null=True),
    Column("remind", ARRAY(DateTime(timezone=True)), nullable=False, server_default=text("'{}'")),
    _int("reminded", default=0),
    _when("expires_at", null=True),
    _text("state", default="pending"),
    _text("used_by", null=True),
    _when("at", now=True),
    _when("decided_at", null=True),
    UniqueConstraint("run", "activity_id", "kind", "subject", "round"),
    _one_of("state", APPROVAL_STATES),
    Index("approvals_pending", "tenant", "at", postgresql_where=text("state = 'pending'")),
    Index("approvals_assign", "assign", postgresql_using="gin", postgresql_where=text("state = 'pending'")),
)

decisions = _table(
    "decisions",
    _row_id(),
    Column("approval", Text, ForeignKey("approvals.id"), nullable=False),
    _text("verb"),
    _bytes("arguments", null=True),
    _text("arguments_digest", null=True),
    _text("digest"),
    _text("reason", null=True),
    *_signed(),
    _when("at", now=True),
    _when("expires_at", null=True),
    _when("consumed_at", null=True),
    UniqueConstraint("key", "nonce"),
    _one_of("verb", ("approve", "edit", "deny")),
    _size("person", "digest", "reason", "arguments_digest"),
    Index("decisions_approval", "approval"),
    Index("decisions_unread", "approval", "at", postgresql_where=text("consumed_at is null")),
)

outbox = _table(
    "outbox",
    _row_id(),
    _text("kind"),
    _text("run", null=True),
    _text("ref"),
    _when("due_at", now=True),
    _int("tries", default=0),
    _when("done_at", null=True),
    UniqueConstraint("kind", "run", "ref", postgresql_nulls_not_distinct=True),
    _one_of("kind", ("wake", "resume", "audit", "notify")),
    Index("outbox_due", "due_at", postgresql_where=text("done_at is null")),
)

streams = _table("streams", _text("name", key=True), _big("seq", default=0), _bytes("hash"), fillfactor=70)

_TIME = text("(facts ->> 'time')")
"""Its text sorts as the time does, in any collation: one form, always in UTC."""

audit = _table(
    "audit",
    _text("stream", key=True),
    _big("seq", key=True),
    _bytes("body"),
    _bytes("prev_hash"),
    _bytes("hash"),
    _bytes("mac"),
    _text("key_id"),
    # computed from the body, so that nobody can edit the one without the other
    Column("facts", JSONB, Computed("vertebra_facts(body)", persisted=True), nullable=True),
    Index("audit_newest", "tenant", _TIME, "stream", "seq"),
    Index("audit_operation", "tenant", text("(facts ->> 'operation')"), _TIME),
    Index(
        "audit_agent",
        *("tenant", text("(facts ->> 'agent')"), _TIME),
        postgresql_where=text("facts ->> 'agent' is not null"),
    ),
)

exports = _table(
    "exports",
    _text("sink", key=True),
    Column("run", Text, ForeignKey("runs.id"), primary_key=True),
    _big("seq", default=0),
    _when("due_at", now=True),
    _int("tries", default=0),
    _when("done_at", null=True),
    _one_of("sink", ("spans",)),
    Index("exports_due", "sink", "due_at", postgresql_where=text("done_at is null")),
)
