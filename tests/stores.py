"""A migrated database for tests, its roles, and short builders of the rows that a test does not care about."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import TupleRow

from vertebra.audit.append import append_query
from vertebra.audit.chain import MacKey, mac_key
from vertebra.ledger.attempts import AttemptId, open_attempt_query, reserve_query
from vertebra.ledger.books import Books, books_of, books_query, head_query
from vertebra.schemas.audit import Content, Entry
from vertebra.schemas.ids import DEFAULT_TENANT, CallId, RunId
from vertebra.schemas.money import MicroUSD
from vertebra.store.migrate import ROLES, Role
from vertebra.store.pool import Links
from vertebra.store.transaction import Query, once, transaction

PASSWORDS: dict[Role, str] = dict.fromkeys(ROLES, "test-password")
AUDIT_KEY = mac_key(b"a" * 32)
KEYS = {AUDIT_KEY.id: AUDIT_KEY}

_RUN = """
insert into runs (id, chain, execution_id, graph, version, graph_digest, correlation_id, principal, started_by,
    input_digest, limit_microusd, limit_tokens)
values (%(id)s, 'chain', 'execution', 'graph', '1.0.0', 'sha256:0', %(correlation_id)s, 'svc', 'svc', 'sha256:0',
    %(microusd)s, %(tokens)s)
"""
_CALL = """
insert into calls (id, run, activity_id, call_digest, kind, effect, node, visit, context, status)
values (%(id)s, %(run)s, %(id)s, 'sha256:0', 'llm', 'idempotent', 'draft', 1, 'context', 'intended')
"""


@dataclass(frozen=True)
class Migrated:
    """A database with this release's schema."""

    superuser_dsn: str

    def dsn(self, role: Role) -> str:
        """Where to log in as one of the roles."""
        parts = urlsplit(self.superuser_dsn)
        return parts._replace(netloc=f"{role}:{PASSWORDS[role]}@{parts.netloc.rpartition('@')[2]}").geturl()

    async def superuser(self) -> psycopg.AsyncConnection[TupleRow]:
        """A connection with every right, in autocommit."""
        return await psycopg.AsyncConnection.connect(self.superuser_dsn, autocommit=True)


async def new_run(
    pool: Links, *, microusd: int | None = None, tokens: int | None = None, correlation_id: str = "correlation"
) -> RunId:
    """A run of its own with these limits."""
    run = RunId(f"run-{secrets.token_hex(8)}")
    params = {"id": run, "microusd": microusd, "tokens": tokens, "correlation_id": correlation_id}
    await once(pool, [Query("run", _RUN, params)])
    return run


async def new_call(pool: Links, run: RunId) -> CallId:
    """A call of that run, without attempts."""
    call = CallId(f"call-{secrets.token_hex(8)}")
    await once(pool, [Query("call", _CALL, {"id": call, "run": run})])
    return call


async def attempt(pool: Links, run: RunId, call: CallId, n: int, microusd: int, tokens: int = 0) -> AttemptId | None:
    """Reserve and open one attempt, or None if it was refused."""
    attempt_id = AttemptId(run, call, n)
    async with transaction(pool) as opened:
        if not (await opened.trip([reserve_query(run, MicroUSD(microusd), tokens)]))[0]:
            return None
        row = open_attempt_query(
            attempt_id, MicroUSD(microusd), tokens, tenant=DEFAULT_TENANT, execution_id="execution", worker="worker"
        )
        await opened.commit([row])
    return attempt_id


async def books(pool: Links, run: RunId) -> Books:
    """The run's books now."""
    return books_of((await once(pool, [books_query(run)]))[0][0])


async def append(pool: Links, run: RunId, entries: Sequence[Entry], key: MacKey = AUDIT_KEY) -> None:
    """Append entries to the run's stream, as the gate does."""
    async with transaction(pool) as opened:
        head = books_of((await opened.trip([head_query(run)]))[0][0]).head
        await opened.commit([append_query(entries, head, key)])


def entry(text: str = "hello", **given: object) -> Entry:
    """An entry with some content."""
    plain = {
        "time": "2026-01-31T09:30:00.000000Z",
        "operation": "llm_call",
        "phase": "intent",
        "actor": "svc",
        "node": "draft",
        "input": Content.of(text),
    }
    return Entry.model_validate({**plain, **given})


def sha256(data: bytes) -> bytes:
    """The plain hash."""
    return hashlib.sha256(data).digest()
