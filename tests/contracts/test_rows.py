"""Rows in memory against Postgres: every statement that both know is played on both, and gives the same rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.stores import PASSWORDS
from vertebra.activities import entries
from vertebra.boundary.cel_child import CelChild
from vertebra.providers.reply_files import read_replies
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import AuditRefused, Conflict, StoreError
from vertebra.schemas.ids import DEFAULT_TENANT, RunId
from vertebra.store.migrate import migrate
from vertebra.store.pool import Connection, connect
from vertebra.store.queries import named
from vertebra.store.transaction import Query, once
from vertebra.store.wire import round_trip
from vertebra.testing.acts import Acts, Command, Decision
from vertebra.testing.answers import by_text, known
from vertebra.testing.clock import Clock
from vertebra.testing.play import Play
from vertebra.testing.rows import MemoryPool, Row
from vertebra.testing.stage import Stage, staged

pytestmark = pytest.mark.server

TEMPLATE = Path(__file__).parents[2] / "vertebra/templates/customer-support"
REFUND: Json = {"ticket": "The machine is broken. Refund me now.", "email": "grant@example.com"}
REPLIES: dict[str, Json] = {
    "classify": [{"reply": {"kind": "billing", "urgency": "high", "summary": "wants money"}}],
    "research": [{"reply": {"facts": ["It cost $480."], "confidence": 0.9}}],
    "draft": [{"reply": {"text": "We are sorry.", "refund_usd": 480.0}}],
}
OF_RUN = {"run": "run-1"}
SIGNED: dict[str, object] = {"person": "tester", "key": "k", "nonce": "n1", "reason": "r"}
SIGNED |= {"statement": b"s", "signature": b"s"}
ORDER: dict[str, object] = {"epoch": 0, "node": None, "visit": None, "verb": "renew"}
ORDER |= {"arguments": None, "arguments_digest": None}
LATE_S = 5 * 3600
NAMES = {text: place for place, text in ((place, str(named(*place))) for place in known())}
TABLES = """approvals artifacts attempts audit calls commands contexts decisions envelopes graphs outbox people renewals
    revocations runs streams texts waits"""


class Told(NamedTuple):
    """One statement as the rows in memory answered it."""

    sql: str
    params: Mapping[str, Any]
    rows: list[Row] | None
    """None: it was refused."""


class Recording(MemoryPool):
    """Remembers every statement in the order of its transactions."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(by_text(), clock.tick)
        self.told: list[Told] = []

    async def begin(self) -> bool:
        owns = await super().begin()
        if owns:
            self.told.append(Told("begin", {"now": self.rows.now}, []))
        return owns

    def end(self, *, undone: bool) -> None:
        self.told.append(Told("rollback" if undone else "commit", {}, []))
        super().end(undone=undone)

    def answer(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        try:
            rows = super().answer(sql, params)
        except StoreError:
            self.told.append(Told(sql, params, None))
            raise
        self.told.append(Told(sql, params, rows))
        return rows


class Both(NamedTuple):
    """A play that is recorded, and the database on which it is played again."""

    pool: Recording
    stage: Stage

    async def play(self, given: Json, doing: Acts, run: str = "run-1") -> Play:
        play = Play(self.stage, RunId(run), doing)
        await play.run(given)
        return play

    async def say(self, file: str, name: str, /, **params: object) -> list[Row]:
        """One statement by itself."""
        [rows] = await once(self.pool, [Query(name, named(file, name), params)])
        return [dict(row) for row in rows]


@asynccontextmanager
async def both(replies: Mapping[str, Json] | None = None) -> AsyncIterator[Both]:
    clock = Clock()
    pool = Recording(clock)
    replies = replies or read_replies(TEMPLATE / "replies")
    async with (
        CelChild() as cel,
        staged(TEMPLATE, "customer-support", replies=replies, cel=cel, clock=clock, pool=pool) as stage,
    ):
        yield Both(pool, stage)


@pytest.fixture
async def postgres(database: str) -> AsyncIterator[Connection]:
    """An empty database with this release's schema, and every right in it."""
    await asyncio.to_thread(migrate, database, PASSWORDS)
    async with await connect(database) as connection:
        await _under_our_clock(connection)
        yield connection


async def _under_our_clock(connection: Connection) -> None:
    """The server's `now()` is whatever the test says: else nothing that takes hours could be played on it."""
    told = "select current_setting('test.now')::timestamptz"
    await connection.execute(f"create function public.now() returns timestamptz language sql stable return ({told})")
    await connection.execute("set search_path = public, pg_catalog")
    columns = await connection.execute(
        "select table_name, column_name from information_schema.columns "
        "where table_schema = 'public' and column_default = 'pg_catalog.now()'"
    )
    rows = await columns.fetchall()
    assert rows, "the columns whose default is the time"
    for table, column in rows:
        await connection.execute(f"alter table {table} alter column {column} set default public.now()")
    await connection.execute(
        "create or replace function vertebra_published_now() returns trigger language plpgsql as "
        "$$ begin new.at := public.now(); return new; end $$"
    )


async def assert_same(told: list[Told], connection: Connection) -> None:
    """Postgres gives the very rows at the very times; a refused statement is refused there too."""
    await connection.execute(f"truncate {', '.join(TABLES.split())} restart identity cascade")
    refused = False
    for number, one in enumerate(told):
        if refused and one.sql != "rollback":
            continue
        where = f"statement {number}: {NAMES.get(one.sql, one.sql)}"
        found, problem = await answered(connection, one)
        assert (one.rows is None) == (problem is not None), f"{where}: one of both refused: {problem}"
        refused = problem is not None
        if one.rows is not None:
            assert alike(one.rows, one.sql) == alike(found, one.sql), where


async def answered(connection: Connection, one: Told) -> tuple[list[Row], psycopg.Error | None]:
    """What Postgres says to a statement at the same time, or why it refuses."""
    statements: list[tuple[str, Mapping[str, Any]]] = [(one.sql, one.params)]
    if one.sql == "begin":
        clock = {"now": one.params["now"].isoformat()}
        statements = [("begin", {}), ("select set_config('test.now', %(now)s, true)", clock)]
    try:
        found = await round_trip(connection, statements)
    except psycopg.Error as problem:
        return [], problem
    return [dict(row) for row in found[0]], None


def alike(rows: list[Row], sql: str) -> list[str]:
    """The rows in a form that can be compared; in their order where the statement gives one."""
    plain = [repr(sorted((name, _plain(value)) for name, value in row.items())) for row in rows]
    return plain if "order by" in sql else sorted(plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return sorted((name, _plain(item)) for name, item in value.items())
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


def names(told: list[Told]) -> Counter[tuple[str, str]]:
    return Counter(NAMES[one.sql] for one in told if one.sql in NAMES)


async def decided() -> list[Told]:
    """Every decision, and what follows from it; an approval by the backup after reminders and escalation."""
    async with both(replies=REPLIES) as two:
        for number, decision in enumerate(
            (
                Decision("edit", "support_lead", {"text": "Edited."}),
                Decision("deny", "ada", reason="no"),
                Decision("approve", "bo", after_s=LATE_S),
            )
        ):
            retried = [Command("retry", "send")] if decision.verb == "deny" else []
            again = [decision, Decision("approve", "ada")] if retried else [decision]
            play = await two.play(REFUND, Acts.of({"send": again}, retried), f"run-{number}")
            assert play.finish is not None, play.troubles
        return two.pool.told


async def commanded() -> list[Told]:
    """A breach and a top-up; failed attempts, a retry, an override, a skip, an abort; a renewal."""
    usage: Json = {"input": 58_000, "output": 10}
    spent: dict[str, Json] = {**REPLIES, "research": [{"reply": {"facts": [], "confidence": 0.9}, "usage": usage}]}
    broken: dict[str, Json] = {**REPLIES, "classify": [{"fail": {"kind": "server", "times": 4}, "reply": "x"}]}
    orders = [Command("top_up", arguments={"microusd": 1_000_000, "tokens": 100_000})]
    async with both(replies=spent) as two:
        passed = {"draft": [Decision("approve", "operator")], "send": [Decision("approve"), Decision("approve")]}
        assert (await two.play(REFUND, Acts.of(passed, orders))).state.shown != "over_budget"
        told = two.pool.told
    async with both(replies=broken) as two:
        result: Json = {"kind": "spam", "urgency": "low", "summary": "by hand"}
        doing = [Command("retry", "classify"), Command("override", "classify", result)]
        assert (await two.play(REFUND, Acts.of({}, doing))).finish is not None
        assert (await two.play(REFUND, Acts.of({}, [Command("abort")]), "run-2")).finish is not None
        assert (await two.play(REFUND, Acts.of({}, [Command("skip", "classify")]), "run-3")).troubles == []
    return [*told, Told("truncate", {}, []), *two.pool.told]


async def by_themselves() -> list[Told]:
    """Statements that only rare ways reach, each on rows of a run that waits."""
    async with both(replies=REPLIES) as two:
        await two.play(REFUND, Acts(), OF_RUN["run"])
        [asked] = two.pool.rows.of("approvals")
        [call, *_] = two.pool.rows.of("calls")
        root = next(row["id"] for row in two.pool.rows.of("contexts") if row["parent"] is None)
        await say_orders(two)
        await say_events(two)
        await say_lives(two, root)
        await say_books(two, call)
        await say_calls(two, call, root)
        await say_approvals(two, asked)
        await say_audit(two)
        await say_values(two)
        return two.pool.told


async def say_orders(two: Both) -> None:
    await two.say("client", "put_revocation", tenant=DEFAULT_TENANT, id="rev", kind="tool", target="python", **SIGNED)
    await two.say("gate", "revocations", tenant=DEFAULT_TENANT, targets=["python", "bash"])
    await two.say("client", "put_command", tenant=DEFAULT_TENANT, id="c1", **OF_RUN, **ORDER, **SIGNED)
    verbs = ["skip", "retry", "abort", "cancel", "top_up", "top_up", "renew", "resume", "override", "skip"]
    for number, verb in enumerate(verbs):
        said = {**ORDER, "verb": verb, "arguments": b"12345", "node": "draft", "visit": 1 + number % 2}
        of_it = {**SIGNED, "nonce": f"order-{number}"}
        await two.say("client", "put_command", tenant=DEFAULT_TENANT, id=f"o{number}", **OF_RUN, **said, **of_it)
    await _read_orders(two)
    for number in (0, 2, 3, 4, 5, 6, 8):
        await two.say("steps", "consume_command", id=f"o{number}")
    await two.say("steps", "apply_command", id="o0")
    await _read_orders(two)
    for id in ("o0", "o2", "o5", "o5"):
        await two.say("steps", "refuse_command", id=id)
    await _read_orders(two)


async def _read_orders(two: Both) -> None:
    for visits, most, most_bytes in (
        ([], 99, 999),
        ([1, 2], 2, 999),
        ([1], 9, 11),
        ([2], 9, 10),
        ([1], 1, 999),
        ([2], 0, 0),
    ):
        bound = {"nodes": ["draft"] * len(visits), "visits": visits, "most": most, "most_bytes": most_bytes}
        await two.say("steps", "run_commands", **OF_RUN, **bound)


async def say_events(two: Both) -> None:
    body = b'{"inline":{"event":"c1"}}'
    taken = {"node": "draft", "visit": 1, "kind": "plan", "body": body, "digest": "event"}
    await two.say("gate", "put_envelope", tenant=DEFAULT_TENANT, **OF_RUN, **taken)
    await two.say("steps", "taken_events", **OF_RUN)
    sent = ORDER | {"verb": "event", "arguments": b"12345"}
    for number in range(6):
        of_it = {**SIGNED, "nonce": f"event-{number}"}
        await two.say("client", "put_command", tenant=DEFAULT_TENANT, id=f"e{number}", **OF_RUN, **sent, **of_it)
    body = b'{"inline":{"event":"e0"}}'
    await two.say("gate", "put_envelope", tenant=DEFAULT_TENANT, **OF_RUN, **taken | {"visit": 2, "body": body})
    await two.say("steps", "apply_command", id="e0")
    await two.say("client", "unread_events", **OF_RUN)
    for visits, most, most_bytes in (([], 3, 999), ([1, 2], 9, 11), ([2], 9, 10), ([2], 0, 0)):
        bound = {"nodes": ["draft"] * len(visits), "visits": visits, "most": most, "most_bytes": most_bytes}
        await two.say("steps", "sent_events", **OF_RUN, **bound)


async def say_lives(two: Both, root: str) -> None:
    await two.say("steps", "run_contexts", **OF_RUN)
    await two.say("steps", "touch_execution", **OF_RUN, execution_id="another")
    await two.say("steps", "run_row", **OF_RUN)
    await two.say("steps", "put_renewal", **OF_RUN, command="c1", seconds=10**9, context=None)
    await two.say("gate", "contexts", context=root)
    await two.say("steps", "context_lives", **OF_RUN)
    await two.say("steps", "apply_command", id="c1")
    await two.say("steps", "put_aside", **OF_RUN, ids=["c1", "c2", "nobody"])
    for id in ("c1", "c1", "e0"):
        await two.say("steps", "consume_command", id=id)


async def say_books(two: Both, call: Row) -> None:
    for name in ("books", "held", "check_books", "head"):
        await two.say("ledger", name, **OF_RUN)
    await two.say("ledger", "check_books", run=None)
    await two.say("ledger", "reserve", **OF_RUN, microusd=10**9, tokens=0)
    attempt = {"call": call["id"], "n": 7}
    opened = {"execution_id": "e", "worker": "w", "price_digest": None, "opened_by": None}
    await two.say("ledger", "reserve", **OF_RUN, microusd=5, tokens=7)
    await two.say("ledger", "open_attempt", tenant=DEFAULT_TENANT, **attempt, **OF_RUN, microusd=5, tokens=7, **opened)
    await two.say("ledger", "lose_attempts", call=call["id"], n=8)
    await two.say("ledger", "held", **OF_RUN)
    settled = {"state": "settled", "class": None, "counts": True, "microusd": 3, "tokens": 4, "estimated": False}
    for _ in range(2):
        await two.say("ledger", "end_attempt", **OF_RUN, **attempt, **settled, raw_usage=None, scopes=[], figures=None)
    await two.say("ledger", "top_up", **OF_RUN, command="c1", microusd=1, tokens=1)
    await two.say("ledger", "check_books", **OF_RUN)


async def say_calls(two: Both, call: Row, root: str) -> None:
    wake = {"tenant": DEFAULT_TENANT, **OF_RUN, "ref": "call/x"}
    for file, name in (("gate", "wake"), ("keeper", "put_wake"), ("gate", "wake")):
        await two.say(file, name, **wake)
    await two.say("steps", "done_wake", **OF_RUN, refs=["call/x"])
    await two.say("gate", "fail_unsent", id=call["id"], error=b"{}")
    await two.say("gate", "release_call", id=call["id"])
    for status in ("mark_unknown", "fail_unsent"):
        await two.say("steps", "open_call", **OF_RUN, activity_id=call["activity_id"], command="c1")
        await two.say("gate", status, id=call["id"], error=b"{}")
        await two.say("gate", "own_call", id=call["id"])
    await two.say("steps", "answered_calls", **OF_RUN, activity_ids=[call["activity_id"]])
    denied = {"activity_id": "draft#9", "call_digest": "d", "kind": "tool", "node": "draft", "visit": 9}
    told = {"tenant": DEFAULT_TENANT, "context": root, "result": b"{}"}
    await two.say("gate", "put_denied", id="denied", **OF_RUN, **denied, **told)
    await two.say("gate", "journal", **OF_RUN, activity_id="draft#9")


async def say_approvals(two: Both, asked: Row) -> None:
    past = {name: asked[name] for name in ("tenant", "run", "node", "visit", "activity_id", "kind", "request")}
    past |= {"digest": "d", "assign": ["a"], "backup": ["b"], "subject": "late", "expires_in_s": -1}
    past |= {"escalate_after_s": -5, "remind_s": [-9, 3600]}
    for number in (1, 2):
        await two.say("gate", "open_approval", **past, id=f"past-{number}", round=number)
    await two.say("gate", "open_approval", **past, id="past-1", round=1)
    with pytest.raises(Conflict):
        await two.say("gate", "open_approval", **past, id="past-3", round=1)
    for name in ("due_reminders", "due_expiries"):
        await two.say("keeper", name, limit=10)
    await two.say("keeper", "approval", id="past-1")
    await two.say("keeper", "count_reminders", id="past-1", reminded=2)
    await two.say("keeper", "due_reminders", limit=10)
    await say_decisions(two, ["past-1", "past-2"])
    await two.say("gate", "expire_approval", id="past-1")
    await two.say("gate", "withdraw_approval", id="past-2")
    await two.say("steps", "asked_decisions", ids=["past-1", "past-2"], most=9, most_bytes=999)
    await two.say("steps", "asked_approvals", ids=["past-1", "past-2", asked["id"]])
    await two.say("gate", "expire_approval", id=asked["id"])
    await two.say("gate", "withdraw_visit", **OF_RUN, node=asked["node"], visit=asked["visit"])
    await two.say("steps", "open_approvals", **OF_RUN)
    await two.say("keeper", "lock_run", **OF_RUN)
    human = {**past, "kind": "human", "subject": ""}
    await two.say("gate", "open_approval", **human, id="human", round=1)
    await two.say("steps", "asked_before", **OF_RUN, activity_id=asked["activity_id"], id=None)


async def say_decisions(two: Both, ids: list[str]) -> None:
    said = {"verb": "approve", "arguments": b"12345", "arguments_digest": None, "digest": "d"}
    for number in range(4):
        of_it = {**SIGNED, "approval": ids[number % 2], "nonce": f"decision-{number}"}
        await two.say("client", "put_decision", tenant=DEFAULT_TENANT, **said, **of_it)
    await two.say("steps", "consume_decision", approval=ids[0], nonce="decision-0")
    for most, most_bytes in ((9, 999), (2, 999), (9, 6), (0, 0)):
        await two.say("steps", "asked_decisions", ids=ids, most=most, most_bytes=most_bytes)


async def say_audit(two: Both) -> None:
    await entries.tell_admin(two.stage.world, DEFAULT_TENANT, [entries.event(two.stage.world, "run_refused", "admit")])
    await two.say("audit", "entries", stream="run-1", after=2, limit=3)
    with pytest.raises(AuditRefused):
        await two.say(
            "audit",
            "append_run",
            stream="run-1",
            seq=0,
            prev_hash=b"",
            bodies=[b""],
            hashes=[b""],
            macs=[b""],
            key_id="k",
        )


async def say_values(two: Both) -> None:
    for _ in range(2):
        artifact = {"sha256": "f", "size": 1, "media_type": "t", "bytes": b"1", "place": None}
        await two.say("values", "put_artifact", tenant=DEFAULT_TENANT, **artifact)
    await two.say("values", "get_artifact", tenant=DEFAULT_TENANT, sha256="f")
    person = {"name": "eve", "public_key": None, "key": None, "roles": ["x"], "service": True, "signer": False}
    for roles in (["x"], ["x"], ["y"]):
        await two.say("client", "enrol", tenant=DEFAULT_TENANT, **{**person, "roles": roles}, by="tester")
    for name in ("people", "run", "waits"):
        await two.say("client", name, **OF_RUN)


async def test_every_statement_gives_what_postgres_gives(postgres: Connection) -> None:
    """Whole runs and rare statements, played on both sides: the same rows; and no answer is left untried."""
    told = [await decided(), *split(await commanded()), await by_themselves()]

    for part in told:
        await assert_same(part, postgres)

    tried = names([one for part in told for one in part])
    assert [] == sorted(set(known()) - set(tried))


def split(told: list[Told]) -> list[list[Told]]:
    """At the places where the rows began anew."""
    at = [number for number, one in enumerate(told) if one.sql == "truncate"]
    ends = [*at, len(told)]
    return [told[begin:end] for begin, end in zip([0, *(number + 1 for number in at)], ends, strict=True)]
