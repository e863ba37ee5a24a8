"""The recorded steps of a run, where they fail or are repeated."""

from __future__ import annotations

import asyncio
import json

import pytest
from temporalio.api.enums.v1 import TimeoutType
from temporalio.client import WorkflowFailureError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Replayer

from tests.integration.runs.waits import Handle, ended, waiting
from tests.stage import Stage
from vertebra.activities.decide import decide
from vertebra.activities.load import load
from vertebra.activities.open_approval import open_approval
from vertebra.activities.steps import Steps
from vertebra.schemas.run import Ask, DecideInput, DecideRequest, KeepInput, LoadInput, OpenApprovalInput
from vertebra.workers.plugin import plugin

pytestmark = pytest.mark.server

ASKS = """
graph: steps-ask
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: input.text}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, tokens: 1000000, on_breach: reject}}
nodes:
  ask: {type: human, show: {text: input.text}, assign: [support_lead]}
"""
RUNAWAY = DecideRequest(
    key="r", source="xs.map(a, s.matches('(x+x+)+y')).size() > 0", facts={"xs": list(range(5000)), "s": "x" * 40_000}
)


async def asking(stage: Stage) -> str:
    graph = stage.compile(ASKS)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "may I?"})
    await waiting(handle.id, stage, "approval")
    return handle.id


async def told(stage: Stage, run: str, operation: str) -> int:
    rows = await stage.sql("select body from audit where stream = %(run)s", run=run)
    return [json.loads(bytes(row["body"]))["operation"] for row in rows].count(operation)


async def test_conditions_that_run_away_leave_time_for_the_answer(stage: Stage) -> None:
    """Six of them are answered within the two seconds that a step has."""
    given = DecideInput(requests=tuple(RUNAWAY.model_copy(update={"key": str(number)}) for number in range(6)))

    found = await decide(given, stage.world)

    assert [str(number) for number in range(6)] == [answer.key for answer in found.answers]
    assert all(answer.value is None and answer.error for answer in found.answers)


async def test_a_question_asked_again_is_the_same_row_and_on_record_once(stage: Stage) -> None:
    """A repeated step finds what it wrote."""
    run = await asking(stage)
    given = OpenApprovalInput(node="ask", visit=1, round=1, show={"text": "may I?"})
    [row] = await stage.sql("select id from approvals where run = %(run)s", run=run)

    assert row["id"] == (await open_approval(given, run, stage.world)).id
    assert 1 == await told(stage, run, "approval_asked")
    await stage.command(run, "abort")


async def test_another_question_in_the_same_round_takes_the_next_one(stage: Stage) -> None:
    """A resumed run that came another way shows other values: the old question is void, and nothing hangs."""
    run = await asking(stage)
    other = OpenApprovalInput(node="ask", visit=1, round=1, show={"text": "something else?"})

    made = await open_approval(other, run, stage.world)
    again = await open_approval(other, run, stage.world)
    asked_anew = await open_approval(other.model_copy(update={"round": 2}), run, stage.world)

    assert made == again
    rows = await stage.sql("select id, round, state from approvals where run = %(run)s order by round", run=run)
    assert [(1, "withdrawn"), (2, "pending"), (3, "pending")] == [(row["round"], row["state"]) for row in rows]
    assert [made.id, asked_anew.id] == [row["id"] for row in rows[1:]]
    await stage.command(run, "abort")


async def test_a_large_value_is_kept_under_the_tenant_of_its_run(stage: Stage) -> None:
    """Its readers look there."""
    run = await asking(stage)
    await stage.sql("update runs set tenant = 'other' where id = %(run)s", run=run)
    environment = ActivityEnvironment()
    environment.info = environment.info.__class__(**{**environment.info.__dict__, "workflow_id": run})

    ref = await environment.run(Steps(stage.world).keep, KeepInput(text='"large"'))

    await stage.sql("update runs set tenant = 'default' where id = %(run)s", run=run)
    assert b'"large"' == await stage.world.artifacts.get("other", ref.sha256)
    await stage.command(run, "abort")


async def test_a_look_that_is_repeated_after_the_end_leaves_nothing_that_waits(stage: Stage) -> None:
    """The task that ended the run was lost and is played again: nobody is shown what nobody can answer any more."""
    run = await asking(stage)
    [wait] = await stage.sql("select * from waits where run = %(run)s", run=run)
    await stage.command(run, "abort")
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(stage.client.get_workflow_handle(run).result(), 90)
    [row] = await stage.sql("select execution_id from runs where id = %(run)s", run=run)
    given = LoadInput(asks=(Ask(ref=wait["ref"], kind="approval", node="ask", visit=1),), state="awaiting_human")

    again = await load(given, run, row["execution_id"], stage.world)

    assert "abort" == again.ended
    assert [] == await stage.sql("select * from waits where run = %(run)s", run=run)


async def test_a_step_that_ran_out_of_time_is_repeated_and_replays_so(stage: Stage) -> None:
    """A run whose rows are locked for longer than a step may take waits, goes on, and can be taken up by any worker."""
    run = await asking(stage)
    handle = stage.client.get_workflow_handle(run)
    [row] = await stage.sql("select id from approvals where run = %(run)s", run=run)

    await lock_until_timed_out(stage, handle, row["id"])
    await ended(handle, stage)
    history = await handle.fetch_history()

    await Replayer(workflows=[], plugins=[plugin()]).replay_workflow(history)


async def lock_until_timed_out(stage: Stage, handle: Handle, approval: str) -> None:
    """Approve while the run's row is locked, until a step of the run has waited for it in vain."""
    async with stage.owner.connection() as connection, connection.transaction(force_rollback=True):
        await connection.execute("set local idle_in_transaction_session_timeout = 0")  # it is the step that gives up
        await connection.execute("select 1 from runs where id = %s for update", (handle.id,))
        await stage.decide(approval, "approve")
        await _until_timed_out(handle)


async def _until_timed_out(handle: Handle) -> None:
    """Until the run's history tells of a local step that was given up."""
    for _ in range(600):
        for event in (await handle.fetch_history()).events:
            told = event.marker_recorded_event_attributes.failure.timeout_failure_info
            if told.timeout_type != TimeoutType.TIMEOUT_TYPE_UNSPECIFIED:
                return
        await asyncio.sleep(0.1)
    raise AssertionError("no step ran out of time")
