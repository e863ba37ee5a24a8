"""Runs that ended without telling are closed by what Temporal says; what they left is held, never released."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from tests.integration.runs.waits import row_of
from tests.integration.workers.desk import QUEUE, Cut, office, stand_in, stand_ins, told, until
from tests.make import graph as make_graph
from tests.make import tool
from tests.stage import Stage
from tests.stores import attempt, books, new_call
from vertebra.ledger.attempts import check_books_query
from vertebra.schemas.ids import CallId, RunId
from vertebra.store.transaction import Row, once
from vertebra.workers.keeper import Times, executions, orphans, unseen
from vertebra.workers.keeper.duty import Office

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
async def workers(stage: Stage) -> AsyncIterator[None]:
    async with stand_ins(stage):
        yield


async def settled(stage: Stage, run: str) -> None:
    """Wait until the newest execution has ended."""

    async def has_ended() -> bool:
        found = await executions.describe(stage.client, run)
        return found is not None and found.end is not None

    await until(has_ended)


async def looked(stage: Stage, run: str, at: Office | None = None) -> Row:
    """The run's row after a pass over it."""
    await stage.sql("update runs set touched_at = now() - interval '1 hour' where id = %(id)s", id=run)
    await unseen.do(at or office(stage))
    return await row_of(run, stage)


async def left(stage: Stage, run: str, effect: str = "idempotent", node: str = "draft") -> CallId:
    """A call of the run with an attempt that holds money."""
    call = await new_call(stage.owner, RunId(run))
    await stage.sql(
        "update calls set effect = %(effect)s, node = %(node)s where id = %(id)s", id=call, effect=effect, node=node
    )
    await attempt(stage.world.pool, RunId(run), call, 1, 70, 7)
    return call


async def state_of(stage: Stage, call: str) -> tuple[str, str]:
    [row] = await stage.sql(
        "select c.status, a.state from calls c join attempts a on a.call = c.id where c.id = %(id)s", id=call
    )
    return row["status"], row["state"]


@pytest.mark.parametrize(
    ("what", "end"),
    [
        ("return", "completed"),
        ("fail", "failed"),
        ("wait", "terminated"),
        ("time", "timed_out"),
        ("cancel", "cancelled"),
    ],
)
async def test_a_dead_run_is_closed_by_the_status_of_its_execution(stage: Stage, what: str, end: str) -> None:
    """Every way to end has its state, an end entry by `temporal`, and a reason where Temporal knows one."""
    run, handle = await stand_in(stage, what, timedelta(seconds=1) if what == "time" else None)
    if what == "wait":
        await handle.terminate(reason="by hand")
    if what == "cancel":
        await handle.cancel()
    await settled(stage, run)

    row = await looked(stage, run)

    assert end == row["state"]
    assert row["ended_at"] is not None
    [entry] = await told(stage, run)
    assert ("run_end", "temporal", end) == (entry["operation"], entry["actor"], entry["outcome"])
    if what in ("fail", "wait"):
        assert ("a bug" if what == "fail" else "by hand") in str(entry["error"])


async def test_what_a_dead_run_left_is_held_and_nobody_is_asked_any_more(stage: Stage) -> None:
    """Attempts are unknown and keep their money; calls that may have happened are in doubt; waits and questions end."""
    run, handle = await stand_in(stage, "wait")
    model, mail = await left(stage, run), await left(stage, run, effect="irreversible")
    await stage.sql(
        "insert into waits (run, node, visit, kind, ref) values (%(run)s, 'n', 1, 'blocked', 'n#1')", run=run
    )
    await stage.sql(
        "insert into approvals (id, run, node, visit, activity_id, round, kind, request, digest)"
        " values (%(run)s, %(run)s, 'n', 1, 'n#1', 1, 'human', '{}', 'sha256:0')",
        run=run,
    )
    await handle.terminate(reason="by hand")

    await looked(stage, run)

    assert [("intended", "unknown"), ("unknown", "unknown")] == [await state_of(stage, call) for call in (model, mail)]
    assert (140, 14) == (
        (await books(stage.owner, RunId(run))).held_microusd,
        (await books(stage.owner, RunId(run))).held_tokens,
    )
    assert [[]] == await once(stage.owner, [check_books_query(RunId(run))])
    assert [] == await stage.sql("select 1 from waits where run = %(run)s", run=run)
    assert [{"state": "withdrawn"}] == await stage.sql("select state from approvals where run = %(run)s", run=run)
    outcomes = [(entry["phase"], entry["outcome"]) for entry in await told(stage, run)]
    assert [("outcome", "unknown"), ("outcome", "unknown"), ("event", "terminated")] == outcomes


async def test_a_live_run_stays_open(stage: Stage) -> None:
    """It is asked about once, and then not again for as long."""
    run, handle = await stand_in(stage, "wait")

    row = await looked(stage, run)

    assert row["ended_at"] is None
    await handle.terminate()
    await unseen.do(office(stage, Times(untouched_s=60)))
    assert (await row_of(run, stage))["ended_at"] is None


async def test_a_continued_run_is_alive(stage: Stage) -> None:
    """Continue-as-new goes on in the same chain."""
    run, _ = await stand_in(stage, "continue")
    before = (await row_of(run, stage))["execution_id"]

    async def has_continued() -> bool:
        found = await executions.describe(stage.client, run)
        return found is not None and found.id != before

    await until(has_continued)

    row = await looked(stage, run)

    assert row["ended_at"] is None
    assert before != row["execution_id"]
    await stage.client.get_workflow_handle(run).terminate()


async def test_a_run_that_other_hands_have_reset_is_alive(stage: Stage) -> None:
    """A reset in the Web UI makes another execution of the same chain, which the row then shows."""
    run, handle = await stand_in(stage, "wait")
    await handle.query("seen")
    await handle.terminate()
    reset = ResetWorkflowExecutionRequest(
        namespace=stage.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=run, run_id=handle.result_run_id or ""),
        workflow_task_finish_event_id=4,
        request_id="by-hand",
    )
    made = await stage.client.workflow_service.reset_workflow_execution(reset, retry=True)

    row = await looked(stage, run)

    assert (None, made.run_id) == (row["ended_at"], row["execution_id"])
    await stage.client.get_workflow_handle(run).terminate()


async def test_an_execution_of_another_chain_does_not_stand_for_the_run(stage: Stage) -> None:
    """Somebody started the id again after the run had died: the run is closed by its own execution's end."""
    run, handle = await stand_in(stage, "fail")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    stranger = await stage.client.start_workflow("stand-in", "wait", id=run, task_queue=QUEUE)

    row = await looked(stage, run)

    assert "failed" == row["state"]
    await stranger.terminate()


async def test_a_run_that_temporal_does_not_know_is_closed(stage: Stage) -> None:
    """Its history was deleted, or its server was set up anew."""
    run, handle = await stand_in(stage, "wait")
    await handle.terminate()
    await stage.sql("update runs set chain = 'lost', execution_id = gen_random_uuid()::text where id = %(id)s", id=run)

    row = await looked(stage, run)

    assert "terminated" == row["state"]
    assert unseen.GONE in str((await told(stage, run))[-1]["error"])


async def test_a_dead_run_touched_before_the_clock_was_set_back_is_closed(stage: Stage) -> None:
    """Touched tomorrow by a clock that was a day ahead, it is asked about now and not in a day."""
    run, handle = await stand_in(stage, "wait")
    await handle.terminate()
    await stage.sql("update runs set touched_at = now() + interval '1 day' where id = %(id)s", id=run)

    await unseen.do(office(stage))

    [row] = await stage.sql("select state from runs where id = %(id)s", id=run)
    assert "terminated" == row["state"]


async def test_an_unreachable_temporal_ends_no_run(stage: Stage) -> None:
    """Not knowing is no end."""
    run, handle = await stand_in(stage, "wait")
    await handle.terminate()
    cut = Office(stage.world, cast(Client, Cut(stage.client, "describe_workflow_execution", 99)), Times(untouched_s=0))

    with pytest.raises(RPCError):
        await looked(stage, run, cut)

    assert (await row_of(run, stage))["ended_at"] is None
    assert "terminated" == (await looked(stage, run))["state"]


async def test_a_run_that_temporal_cannot_answer_for_keeps_no_other_waiting(stage: Stage) -> None:
    """A question that Temporal refuses is logged; the rest of the pass goes on."""
    odd, strange = await stand_in(stage, "wait")
    await stage.sql("update runs set chain = 'lost', execution_id = 'no-uuid' where id = %(id)s", id=odd)
    run, handle = await stand_in(stage, "wait")
    await handle.terminate()

    row = await looked(stage, run)

    assert ("terminated", None) == (row["state"], (await row_of(odd, stage))["ended_at"])
    await stage.sql("update runs set ended_at = now() where id = %(id)s", id=odd)
    await strange.terminate()


async def test_a_run_that_was_resumed_meanwhile_is_not_closed(stage: Stage) -> None:
    """What Temporal said about the last epoch says nothing about this one."""
    run, handle = await stand_in(stage, "wait")
    await handle.terminate()
    await settled(stage, run)
    asked = await row_of(run, stage)
    found = await executions.standing(stage.client, run, asked["chain"], asked["execution_id"])
    await stage.sql("update runs set epoch = epoch + 1 where id = %(id)s", id=run)

    assert not await unseen.close_unseen(office(stage), asked, found)
    assert (await row_of(run, stage))["ended_at"] is None


async def old(stage: Stage, call: str) -> None:
    await stage.sql("update attempts set started_at = now() - interval '1 hour' where call = %(id)s", id=call)


async def test_an_attempt_that_nobody_does_any_more_is_unknown(stage: Stage) -> None:
    """Its activity is not pending: the money stays held, and the outcome is on record."""
    run, handle = await stand_in(stage, "wait")
    model, mail, young = await left(stage, run), await left(stage, run, "irreversible"), await left(stage, run)
    await old(stage, model)
    await old(stage, mail)

    await orphans.do(office(stage))

    states = [await state_of(stage, call) for call in (model, mail, young)]
    assert [("intended", "unknown"), ("unknown", "unknown"), ("intended", "held")] == states
    assert 210 == (await books(stage.owner, RunId(run))).held_microusd
    assert ["unknown", "unknown"] == [entry["outcome"] for entry in await told(stage, run)]
    await handle.terminate()


async def test_an_attempt_whose_activity_is_pending_is_left(stage: Stage) -> None:
    """Temporal will try again, and the next attempt's intent says what becomes of this one."""
    run, handle = await stand_in(stage, "call")
    call = await left(stage, run)
    await stage.sql("update calls set activity_id = 'draft#1.1' where id = %(id)s", id=call)
    await old(stage, call)

    async def is_pending() -> bool:
        found = await executions.describe(stage.client, run)
        return found is not None and "draft#1.1" in found.pending

    await until(is_pending)
    await orphans.do(office(stage))

    assert ("intended", "held") == await state_of(stage, call)
    await handle.terminate()


async def test_an_attempt_of_an_ended_run_is_unknown(stage: Stage) -> None:
    """Nobody is left to report it."""
    run, _ = await stand_in(stage, "return")
    call = await left(stage, run)
    await old(stage, call)
    await stage.sql("update runs set state = 'aborted', ended_at = now() where id = %(id)s", id=run)

    await orphans.do(office(stage))

    assert ("intended", "unknown") == await state_of(stage, call)


async def test_the_patience_is_that_of_the_node(stage: Stage) -> None:
    """An attempt is let be for twice its node's timeout, as the published graph states it."""
    run, handle = await stand_in(stage, "wait")
    graph = make_graph([tool("quick", timeout_s=1), tool("slow", timeout_s=3600)], "quick -> slow", name=run)
    await stage.sql(
        "insert into graphs (name, version, digest, bytes, engine, published_by, key, nonce, statement, signature)"
        " values (%(name)s, '1.0.0', %(digest)s, %(bytes)s, 1, 'ada', %(name)s, 'n', '', '')",
        name=run,
        digest=graph.digest,
        bytes=graph.canonical,
    )
    await stage.sql("update runs set graph_digest = %(digest)s where id = %(id)s", digest=graph.digest, id=run)
    quick, slow = await left(stage, run, node="quick"), await left(stage, run, node="slow")
    await old(stage, quick)
    await old(stage, slow)

    await orphans.do(office(stage))

    assert ["unknown", "held"] == [(await state_of(stage, call))[1] for call in (quick, slow)]
    await handle.terminate()


@pytest.mark.parametrize(
    "status", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED]
)
async def test_an_unreachable_temporal_puts_nothing_in_doubt(stage: Stage, status: RPCStatusCode) -> None:
    """The attempt stays held until Temporal can be asked, whatever word the client has for its absence."""
    run, handle = await stand_in(stage, "wait")
    call = await left(stage, run)
    await old(stage, call)
    cut = Office(stage.world, cast(Client, Cut(stage.client, "describe_workflow_execution", 99, status)), Times())

    with pytest.raises(RPCError) as failed:
        await orphans.do(cut)

    assert status == failed.value.status
    assert ("intended", "held") == await state_of(stage, call)
    await handle.terminate()
