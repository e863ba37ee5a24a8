"""What must be true after every fault, whatever was killed: money, effects, sales and the record agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.stage import Stage
from tests.stores import KEYS
from vertebra.audit.read import verify_tenant
from vertebra.ledger.attempts import check_books_query
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.store.pool import connect
from vertebra.store.transaction import once


@dataclass(frozen=True)
class Counts:
    """Figures of some runs, for the report."""

    runs: int
    sales: int
    bought_again: int
    """Sales beyond the first of a call; each has a lost attempt whose money is held."""
    lost: int
    """Attempts of unknown outcome."""
    mails: int
    entries: int

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.sales} sales ({self.bought_again} bought again), {self.lost} lost attempts"
            f" held, {self.mails} mails, {self.entries} audit entries verified, books exact"
        )


async def check_accounts(stage: Stage, runs: Sequence[str], settled_again: int = 0) -> Counts:
    """Assert that the books are exact, the chains verify, effects happened once and sales are settled or held.

    `settled_again`: so many lost attempts reported after all, and paid for their own sale.
    """
    await stage.owner.check()  # connections of before the last kill
    [wrong] = await once(stage.owner, [check_books_query()])
    assert [] == wrong
    attempts = await stage.sql(
        "select a.call, a.state, a.reserved_microusd, c.kind, c.node from attempts a join calls c on c.id = a.call"
        " where a.run = any(%(runs)s)",
        runs=list(runs),
    )
    sold = Counter(str(sale["call_id"]) for sale in stage.bought() if sale["run"] in runs)
    settled = Counter(row["call"] for row in attempts if row["kind"] == "llm" and row["state"] == "settled")
    unknown = Counter(row["call"] for row in attempts if row["kind"] == "llm" and row["state"] == "unknown")
    for call in sold | settled:
        assert settled[call] <= sold[call] <= settled[call] + unknown[call], call
    assert settled_again == sum(count - 1 for count in settled.values())
    assert all(row["reserved_microusd"] > 0 for row in attempts if row["kind"] == "llm" and row["state"] == "unknown")
    mails = await _check_mails(stage, runs)
    await _check_record(stage, runs)
    connection = await connect(str(stage.owner.conninfo))
    async with connection:
        report = await verify_tenant(connection, DEFAULT_TENANT, KEYS)
    assert report.ok, report.findings
    lost = sum(1 for row in attempts if row["state"] == "unknown")
    again = sum(count - 1 for count in sold.values())
    return Counts(len(runs), sum(sold.values()), again, lost, mails, report.entries)


async def _check_mails(stage: Stage, runs: Sequence[str]) -> int:
    """Each mail stands once, under the id of a call that is journalled as done, and no visit sent two."""
    calls = await stage.sql(
        "select id, run, visit, status from calls where run = any(%(runs)s) and node = 'send'", runs=list(runs)
    )
    delivered = {path.name for path in (stage.world.maildir / "new").glob("*")}
    sent = [row for row in calls if row["status"] == "done"]
    assert {row["id"] for row in sent} == {row["id"] for row in calls} & delivered
    assert len(sent) == len({(row["run"], row["visit"]) for row in sent})
    return len(sent)


async def _check_record(stage: Stage, runs: Sequence[str]) -> None:
    """Every attempt has one intent and one outcome, or one more after it was put down as unknown.

    What failed, and may have been paid for all the same, is told as failed.
    Every run has one start, and one end an epoch.
    """
    attempts = await stage.sql("select call, n, state from attempts where run = any(%(runs)s)", runs=list(runs))
    entries = await stage.sql(
        "select convert_from(body, 'UTF8')::jsonb as body from audit where stream = any(%(runs)s)", runs=list(runs)
    )
    bodies = [row["body"] for row in entries]
    told = Counter((body.get("call"), body.get("attempt"), body["phase"], body.get("outcome")) for body in bodies)
    for row in attempts:
        assert 1 == told[row["call"], row["n"], "intent", None], row
        unknown = told[row["call"], row["n"], "outcome", "unknown"]
        failed = told[row["call"], row["n"], "outcome", "failed"]
        known = failed + sum(told[row["call"], row["n"], "outcome", outcome] for outcome in ("done", "late"))
        if row["state"] == "unknown":
            assert (1, failed) == (unknown + failed, known), (row, unknown, known)
        else:
            assert (row["state"] in ("settled", "released")) == known, (row, known)
            assert unknown <= 1, (row, unknown)
    steps = Counter((body["run"], body["operation"]) for body in bodies)
    for row in await stage.sql("select id, epoch, ended_at from runs where id = any(%(runs)s)", runs=list(runs)):
        assert 1 == steps[row["id"], "run_start"]
        assert row["epoch"] == steps[row["id"], "resumed"]
        assert row["epoch"] + (row["ended_at"] is not None) == steps[row["id"], "run_end"]
