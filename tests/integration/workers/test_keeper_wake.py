"""Rows wake their runs until they are consumed; approvals are reminded of, escalated and expired, once each."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client

from tests.integration.runs.waits import ended, row_of, waiting
from tests.integration.workers.desk import keeping, office, outbox, stand_in, stand_ins, told, until
from tests.stage import Relay, Stage
from vertebra.activities.watch import Watch
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.transaction import Query, Row, once
from vertebra.workers.keeper import Times, expiry, reminders, wake
from vertebra.workers.keeper.duty import Office

pytestmark = pytest.mark.server

ASKS = """
graph: asked
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, tokens: 1000000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  ask: {type: human, show: {text: input.text}, assign: [support_lead], expires_in: 1h, on_error: three}
  one: {agent: speaker, input: {text: input.text}, write: {said: text}}
  three: {agent: speaker, input: {text: input.text}, write: {said: text}}
edges:
  - ask -> one
  - one -> end
  - three -> end
"""
APPROVAL = """
insert into approvals (id, run, node, visit, activity_id, round, kind, request, digest, assign, backup, remind,
    escalate_after, expires_at)
values (%(id)s, %(run)s, 'ask', 1, 'ask#1', 1, 'human', '{}', 'sha256:0', '{support_lead}', '{manager}',
    array(select now() + make_interval(secs => s) from unnest(%(remind)s::float[]) s),
    now() + make_interval(secs => %(escalate)s), now() + make_interval(secs => %(expires)s))
"""


@dataclass
class Sent(Watch):
    """Remembers what was counted as sent."""

    kinds: list[str]

    def sent(self, kind: str) -> None:
        self.kinds.append(kind)


@pytest.fixture(autouse=True)
async def workers(stage: Stage) -> AsyncIterator[None]:
    async with stand_ins(stage):
        yield


@pytest.fixture(scope="module")
async def graph(stage: Stage) -> CompiledGraph:
    made = stage.compile(ASKS)
    await stage.publish(made)
    return made


async def put_wake(stage: Stage, run: str, ref: str) -> None:
    insert = "insert into outbox (kind, run, ref) values ('wake', %(run)s, %(ref)s)"
    await once(stage.api, [Query("wake", insert, {"run": run, "ref": ref})])


async def never_seen(stage: Stage, run: str) -> str:
    """A command that a stand-in, which looks at nothing, never consumes."""
    return f"command/{await stage.command(run, 'abort', wake=False)}"


async def asked(stage: Stage, run: str, remind: list[float], escalate: float, expires: float) -> str:
    approval = secrets.token_hex(10)
    await stage.sql(APPROVAL, id=approval, run=run, remind=remind, escalate=escalate, expires=expires)
    return approval


async def approval_of(stage: Stage, approval: str) -> Row:
    [row] = await stage.sql("select * from approvals where id = %(id)s", id=approval)
    return row


async def test_a_decision_whose_signal_was_lost_still_reaches_its_run(stage: Stage, graph: CompiledGraph) -> None:
    """Row and outbox are enough: a running keeper wakes the run within a second or two, and the row is done."""
    handle = await stage.start(graph, {"text": "x"})
    wait = await waiting(handle.id, stage, "approval")
    await stage.decide(wait["ref"], "approve", wake=False)
    [decision] = await stage.sql("select nonce from decisions where approval = %(id)s", id=wait["ref"])
    await put_wake(stage, handle.id, f"decision/{decision['nonce']}")

    async def is_done() -> bool:
        return (await outbox(stage, handle.id, "wake"))[0]["done_at"] is not None

    async with keeping(stage, Times(expiry_s=0.2, unseen_s=3600, orphans_s=3600)):
        output, _ = await ended(handle, stage)
        await until(is_done)

    assert {"said": "one said"} == output


async def test_a_wake_written_before_the_clock_was_set_back_is_sent(stage: Stage) -> None:
    """Due tomorrow by a clock that was a day ahead, it is sent now and not in a day."""
    run, handle = await stand_in(stage, "wait")
    await put_wake(stage, run, await never_seen(stage, run))
    await stage.sql("update outbox set due_at = now() + interval '1 day' where run = %(run)s", run=run)

    await wake.do(office(stage))

    assert 1 == (await outbox(stage, run, "wake"))[0]["tries"]
    await handle.terminate()


async def test_a_wake_is_sent_at_once_and_then_ever_more_rarely(stage: Stage) -> None:
    """The first pass sends it; then 1, 2, 4 s pass, at most 60, until the run has consumed the row."""
    run, handle = await stand_in(stage, "wait")
    await put_wake(stage, run, await never_seen(stage, run))
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
        [began] = await stage.sql("select now() as at")
        await wake.do(office(stage))
        [row] = await outbox(stage, run, "wake")
        assert row["due_in"] <= timedelta(seconds=pause_s) <= row["due_at"] - began["at"]
        await stage.sql("update outbox set due_at = now() where run = %(run)s", run=run)

    assert 8 == await handle.query("seen")
    await handle.terminate()


async def test_consumed_rows_and_ended_runs_are_not_woken(stage: Stage) -> None:
    """What the run has seen, or can no longer see, ends its wake without a signal."""
    run, handle = await stand_in(stage, "wait")
    command = await stage.command(run, "abort", wake=False)
    await put_wake(stage, run, f"command/{command}")
    await stage.sql("update commands set consumed_at = now() where id = %(id)s", id=command)
    other, _ = await stand_in(stage, "return")
    await put_wake(stage, other, await never_seen(stage, other))
    await stage.sql("update runs set state = 'completed', ended_at = now() where id = %(id)s", id=other)

    await wake.do(office(stage))

    assert [True, True] == [(await outbox(stage, name, "wake"))[0]["done_at"] is not None for name in (run, other)]
    assert 0 == await handle.query("seen")
    await handle.terminate()


async def test_two_keepers_send_a_wake_once(stage: Stage) -> None:
    """Whoever claims the row pushes it back in the same statement."""
    run, handle = await stand_in(stage, "wait")
    await put_wake(stage, run, await never_seen(stage, run))
    # tried often, so that it is pushed back by a minute: by a second, it may be due again before the other looks
    await stage.sql("update outbox set tries = 6 where run = %(run)s", run=run)

    for _ in range(2):
        await wake.do(office(stage))

    assert 1 == await handle.query("seen")
    await handle.terminate()


async def test_an_unreachable_temporal_loses_no_wake(stage: Stage) -> None:
    """The duty fails, which its loop expects, and the row comes up again."""
    run, handle = await stand_in(stage, "wait")
    await put_wake(stage, run, await never_seen(stage, run))

    with capture_logs(), pytest.raises(RuntimeError):  # of a client that never connected
        await wake.do(await nowhere(stage))

    [row] = await outbox(stage, run, "wake")
    assert (1, None) == (row["tries"], row["done_at"])
    await handle.terminate()


async def test_people_are_reminded_once_per_time_and_backups_told_once(stage: Stage) -> None:
    """Entries and log lines: the reminders that have passed, then the escalation, nothing twice, nothing early."""
    run, handle = await stand_in(stage, "wait")
    approval = await asked(stage, run, remind=[-120, -60, 3600], escalate=-30, expires=7200)
    sent: list[str] = []
    relay = stage.world.watch
    assert isinstance(relay, Relay)
    relay.listeners.append(Sent(sent))
    with capture_logs() as logs:
        for _ in range(3):
            await reminders.do(office(stage))
    relay.listeners.pop()

    entries = [(entry["operation"], entry["detail"]) for entry in await told(stage, run)]
    assert ["approval_reminder", "approval_reminder", "approval_escalated"] == [name for name, _ in entries]
    assert [*(name for name, _ in entries), "wake"] == sent
    assert ["support_lead", "support_lead", "manager"] == [detail["roles"] for _, detail in entries]  # type: ignore[index]
    assert 3 == len([log for log in logs if log.get("approval") == approval])
    assert (3, 1) == ((await approval_of(stage, approval))["reminded"], await handle.query("seen"))
    await stage.sql("update approvals set remind[3] = now() where id = %(id)s", id=approval)
    with capture_logs():
        await reminders.do(office(stage))
    assert 4 == len(await told(stage, run))
    await handle.terminate()


async def test_decided_approvals_are_not_reminded_of(stage: Stage) -> None:
    """Nobody is asked for what is settled."""
    run, handle = await stand_in(stage, "wait")
    approval = await asked(stage, run, remind=[-60], escalate=-30, expires=7200)
    await stage.sql("update approvals set state = 'approved' where id = %(id)s", id=approval)

    await reminders.do(office(stage))

    assert [] == await told(stage, run)
    await handle.terminate()


async def test_an_approval_that_nobody_decides_expires_and_its_run_goes_on(stage: Stage, graph: CompiledGraph) -> None:
    """The keeper expires it, on record, and wakes the run, which takes the node's way out."""
    handle = await stage.start(graph, {"text": "x"})
    wait = await waiting(handle.id, stage, "approval")
    await stage.sql("update approvals set expires_at = now() where id = %(id)s", id=wait["ref"])

    async with keeping(stage, Times(expiry_s=0.2, unseen_s=3600, orphans_s=3600)):
        output, _ = await ended(handle, stage)

    assert {"said": "three said"} == output
    assert "expired" == (await approval_of(stage, wait["ref"]))["state"]
    assert 1 == [entry["operation"] for entry in await told(stage, handle.id)].count("approval_expired")


async def test_the_wake_of_an_expiry_lasts_until_the_run_has_gone_on(stage: Stage) -> None:
    """While the wait's row stands the run has not seen it; then the wake is done."""
    run, handle = await stand_in(stage, "wait")
    approval = await asked(stage, run, remind=[], escalate=3600, expires=-1)
    insert = "insert into waits (run, node, visit, kind, ref) values (%(run)s, 'ask', 1, 'approval', %(ref)s)"
    await stage.sql(insert, run=run, ref=approval)
    await expiry.do(office(stage))
    await wake.do(office(stage))
    [before] = await outbox(stage, run, "wake")
    await stage.sql("delete from waits where run = %(run)s", run=run)
    await stage.sql("update outbox set due_at = now() where run = %(run)s", run=run)
    await wake.do(office(stage))
    [after] = await outbox(stage, run, "wake")

    assert (None, f"approval/{approval}") == (before["done_at"], before["ref"])
    assert after["done_at"] is not None
    await handle.terminate()


async def test_a_decision_in_time_is_not_overtaken_by_the_expiry(stage: Stage) -> None:
    """What was signed before the end is the run's to judge, however late it looks."""
    run, handle = await stand_in(stage, "wait")
    approval = await asked(stage, run, remind=[], escalate=3600, expires=3600)
    await stage.decide(approval, "approve", wake=False)
    await stage.sql("update decisions set at = now() - interval '1 hour' where approval = %(id)s", id=approval)
    await stage.sql("update approvals set expires_at = now() - interval '1 minute' where id = %(id)s", id=approval)

    await expiry.do(office(stage))

    assert "pending" == (await approval_of(stage, approval))["state"]
    assert [] == await outbox(stage, run, "wake")
    await handle.terminate()


async def test_a_run_that_is_being_worked_on_is_left_for_the_next_pass(stage: Stage) -> None:
    """The keeper waits for nobody's lock."""
    run, handle = await stand_in(stage, "wait")
    approval = await asked(stage, run, remind=[-60], escalate=-30, expires=-1)
    async with stage.owner.connection() as connection, connection.transaction():
        await connection.execute("select 1 from runs where id = %s for update", (run,))
        await reminders.do(office(stage))
        await expiry.do(office(stage))

    row = await approval_of(stage, approval)
    assert ("pending", 0) == (row["state"], row["reminded"])
    assert (await row_of(run, stage))["ended_at"] is None
    await handle.terminate()


async def nowhere(stage: Stage) -> Office:
    """An office whose Temporal is away."""
    client = await Client.connect("127.0.0.1:9", lazy=True)
    return Office(stage.world, client, Times(untouched_s=0))
