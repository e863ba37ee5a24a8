"""Asking the audit, on a real server: a hundred thousand entries with known sums."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.stores import Migrated, append, entry, new_run
from vertebra.audit import Audit, open_audit
from vertebra.audit.aggregate import GROUPS, METRICS
from vertebra.schemas.errors import BadInput, StoreError, TamperedRow
from vertebra.schemas.ids import Tenant
from vertebra.store.pool import Pool, connect
from vertebra.store.queries import named

pytestmark = [pytest.mark.server, pytest.mark.timeout(400)]  # it fills a table first

MANY = 100_000
NOW = datetime(2026, 3, 1, tzinfo=UTC)
FILL = """
insert into audit (tenant, stream, seq, body, prev_hash, hash, mac, key_id)
select %(tenant)s, 'run-' || %(tenant)s || (n %% 100), n, convert_to(json_build_object(
    'time', to_char(timestamp '2026-03-01' - make_interval(secs => n * 60), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'operation', case n %% 4 when 3 then 'tool_execution' else 'llm_call' end,
    'phase', 'outcome', 'actor', 'agent-' || n %% 5, 'agent', 'agent-' || n %% 5, 'success', n %% 10 <> 0,
    'outcome', case n %% 10 when 0 then 'failed' else 'done' end, 'run', 'run-' || %(tenant)s || (n %% 100),
    'node', 'draft', 'cost_microusd', n, 'tokens', 9007199254740, 'duration_ms', n %% 1000
)::text, 'UTF8'), '', '', '', 'k' from generate_series(1, %(many)s::int) n
"""


@pytest.fixture(scope="module")
async def many(migrated: Migrated) -> AsyncIterator[Audit]:
    """A tenant with so many entries, one a minute, read as `vertebra_reader`."""
    tenant = Tenant(f"many{secrets.token_hex(4)}")
    async with await migrated.superuser() as superuser:
        await superuser.execute("set synchronous_commit = off")
        await superuser.execute(FILL, {"tenant": tenant, "many": MANY})
        await superuser.execute("analyze audit")
    async with open_audit(migrated.dsn("vertebra_reader")) as opened:
        yield Audit(opened._connection, tenant, lambda: NOW)


async def test_money_and_tokens_are_exact(many: Audit) -> None:
    """Every agent's cost to the micro-dollar, and sums beyond what a float holds."""
    costs = await many.aggregate(metric="llm_cost", group_by="agent_id")
    tokens = await many.aggregate(metric="tokens")

    expected = {
        f"agent-{agent}": sum(n for n in range(1, MANY + 1) if n % 4 != 3 and n % 5 == agent) for agent in range(5)
    }
    assert expected == {one.group: one.value for one in costs}
    assert sorted(expected.values(), reverse=True) == [one.value for one in costs]
    assert [MANY * 9007199254740] == [one.value for one in tokens]


async def test_a_time_range_counts_what_lies_in_it(many: Audit) -> None:
    """The last day holds 1,440 minutes; the ends of a range belong to it and do not."""
    day = await many.aggregate(metric="calls", group_by="operation_type", time_range={"last": "1d"})
    exact = await many.aggregate(
        metric="entries", time_range={"from": "2026-02-28T23:00", "to": NOW - timedelta(minutes=1)}
    )

    assert {"llm_call": 1080, "tool_execution": 360} == {one.group: one.value for one in day}
    assert [59] == [one.value for one in exact]


async def test_pages_give_every_entry_once(many: Audit) -> None:
    """The failed model calls of thirty days, page by page, newest first, none missing and none twice."""
    seqs: list[int] = []
    after = None
    while True:
        page = await many.query(
            operation_type="llm_call", success=False, time_range={"last": "30d"}, limit=1000, after=after
        )
        seqs += [one.seq for one in page.entries]
        after = page.next
        if after is None:
            break

    assert [n for n in range(1, 30 * 1440 + 1) if n % 10 == 0 and n % 4 != 3] == seqs


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"agent_id": "agent-3"}, MANY // 5),
        ({"run": "RUN"}, MANY // 100),
        ({"node": "draft", "time_range": {"last": "1h"}}, 60),
        ({"node": "nowhere"}, 0),
        ({"correlation_id": "nothing"}, 0),
    ],
)
async def test_filters_leave_what_fits(many: Audit, asked: dict[str, object], count: int) -> None:
    """Each filter alone, counted over all pages."""
    if asked.get("run"):
        asked = {"run": f"run-{many._tenant}7"}
    found, after = 0, None
    while True:
        page = await many.query(**asked, limit=10_000, after=after)  # type: ignore[arg-type]  # cases of many kinds
        found += len(page.entries)
        after = page.next
        if after is None:
            break

    assert count == found


async def test_every_metric_answers_by_every_group(many: Audit) -> None:
    """Groups add up: whatever they are called, counts and sums over them are the total."""
    times = {"last": "2d"}
    for metric, meant in METRICS.items():
        [*total] = await many.aggregate(metric=metric, time_range=times)
        whole = total[0].value if total else 0
        for group in GROUPS:
            found = [one.value for one in await many.aggregate(metric=metric, group_by=group, time_range=times)]
            assert whole == (max(found, default=0) if meant.how == "max" else sum(found)), (metric, group)


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "audit_newest"),
        ({"operation": "llm_call"}, "audit_operation"),
        ({"agent": "agent-3"}, "audit_agent"),
        ({"run": "RUN", "since": None}, "audit_pk"),
    ],
)
async def test_questions_use_an_index(many: Audit, asked: dict[str, object], index: str) -> None:
    """A page of few entries never reads the whole audit."""
    nothing = dict.fromkeys(("since", "until", "operation", "agent", "node", "success", "run", "correlation", "time"))
    asked = {name: f"run-{many._tenant}7" if value == "RUN" else value for name, value in asked.items()}
    since = {"since": "2026-02-28T12:00:00.000000Z"}
    params = {
        **nothing,
        **since,
        **asked,
        "tenant": many._tenant,
        "admin": "admin/x",
        "limit": 10,
        "stream": None,
        "seq": None,
    }

    cursor = await many._connection.execute("explain " + named("audit", "query"), params)
    plan = "\n".join(row[0] for row in await cursor.fetchall())

    assert index in plan, plan
    assert "Seq Scan on audit" not in plan, plan


async def test_facts_cannot_be_edited_apart_from_the_body(gate: Pool, migrated: Migrated) -> None:
    """Not even a superuser can make the index tell something else than what was hashed."""
    run = await new_run(gate)
    await append(gate, run, [entry("one")])

    async with await migrated.superuser() as superuser:
        with pytest.raises(psycopg.errors.GeneratedAlways):
            await superuser.execute("update audit set facts = '{}' where stream = %s", (run,))


async def test_odd_texts_are_found(gate: Pool, migrated: Migrated) -> None:
    """NUL, its escape written out, quotes: what the index cannot hold hides no entry."""
    run = await new_run(gate)
    odd = ["\0", "\0\0x\0", "\\u0000", '\\\0"', "日本\ud800"]
    await append(gate, run, [entry(text, run=run, error=text, agent=f"a{n}\0") for n, text in enumerate(odd)])

    async with open_audit(migrated.dsn("vertebra_reader")) as audit:
        page = await audit.query(run=run)
        found = await audit.query(run=run, agent_id="a2")

    assert len(odd) == len(page.entries)
    assert ["\\u0000"] == [one.entry.error for one in found.entries]


async def test_a_body_that_is_no_entry_is_told(gate: Pool, migrated: Migrated) -> None:
    """What an intruder put in place of an entry is no defect of the program, and names the verifier."""
    run = await new_run(gate)
    await append(gate, run, [entry("one", run=run)])
    async with await migrated.superuser() as superuser:
        await superuser.execute(
            "update audit set body = convert_to(%s, 'UTF8') where stream = %s", (f'{{"run": "{run}"}}', run)
        )

    async with open_audit(migrated.dsn("vertebra_reader")) as audit:
        with pytest.raises(TamperedRow, match="audit verify"):
            await audit.query(run=run)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"operation_type": "llm_cal"}, r"'llm_cal'; did you mean 'llm_call'\? known are: .*tool_execution"),
        ({"limit": 0}, "1 to 10000"),
        ({"after": "somewhere"}, "no place in the audit"),
        ({"time_range": {"last": "soon"}}, "no length of time"),
    ],
)
async def test_wrong_questions_are_refused(many: Audit, asked: dict[str, object], told: str) -> None:
    """Each with what would be right."""
    with pytest.raises(BadInput, match=told):
        await many.query(**asked)  # type: ignore[arg-type]  # wrong on purpose


async def test_unknown_metrics_and_groups_list_the_known(many: Audit) -> None:
    """A person who guesses sees every word there is."""
    with pytest.raises(BadInput, match=r"known are: calls, cost, .*tool_cost"):
        await many.aggregate(metric="money")
    with pytest.raises(BadInput, match=r"known are: actor, agent_id, .*total"):
        await many.aggregate(metric="cost", group_by="colour")


async def test_a_question_that_takes_too_long_says_so(migrated: Migrated) -> None:
    """The database ends it, and the error says what to do."""
    async with await connect(migrated.dsn("vertebra_reader")) as connection, await migrated.superuser() as other:
        await connection.execute("set statement_timeout = '200ms'")
        await other.execute("begin")
        await other.execute("lock table audit in access exclusive mode")
        with pytest.raises(StoreError, match="takes too long"):
            await Audit(connection, Tenant("default")).aggregate(metric="entries", group_by="run")
        await other.execute("rollback")
