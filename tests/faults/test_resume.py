"""Runs that were ended from outside, wherever they were, go on to the same result without a second sale or mail."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from tests.faults.accounts import check_accounts
from tests.faults.operator import Operator
from tests.faults.plant import TICKETS, Plant, slowed_replies
from vertebra.client import commands
from vertebra.client.connection import AWAY
from vertebra.client.signing import Signer
from vertebra.providers.registry import Setup, make_providers
from vertebra.schemas.errors import PolicyError
from vertebra.schemas.ids import RUNS
from vertebra.store.pool import connect
from vertebra.store.transaction import Row

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(480)]

Handle = WorkflowHandle[object, object]


@dataclass(frozen=True)
class Clean:
    """What the tickets come to when nobody disturbs them."""

    outputs: list[object]
    attempts: list[int]
    """Of each ticket, so that a moment within the run can be chosen."""


@pytest.fixture(scope="module")
async def slow(plant: Plant) -> AsyncIterator[Plant]:
    """The plant with a worker in this process whose models take 100 to 300 ms."""
    providers = make_providers(Setup(replies=slowed_replies(100, 300), sales=plant.stage.sales))
    async with plant.at_work(replace(plant.stage.world, providers=providers)):
        yield plant


@pytest.fixture(scope="module")
async def clean(slow: Plant) -> Clean:
    """Every ticket once from start to end."""
    handles = [await slow.stage.start(slow.stage.support, ticket) for ticket in TICKETS]
    rows = await Operator(slow, [handle.id for handle in handles]).until_all_ended(180)
    by_id = {row["id"]: row for row in rows}
    assert {"completed"} == {row["state"] for row in rows}
    counted = {row["run"]: row["count"] for row in await slow.sql("select run, count(*) from attempts group by run")}
    return Clean([by_id[handle.id]["output"] for handle in handles], [counted[handle.id] for handle in handles])


@pytest.mark.parametrize("history", ["kept", "deleted"])
async def test_a_run_that_was_terminated_anywhere_is_resumed_and_buys_nothing_twice(
    slow: Plant, clean: Clean, history: str, report: Callable[[str], None]
) -> None:
    """Every ticket, terminated at a random call: same output, one sale a call, one mail a run, one epoch, one chain."""
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    handles = [await slow.stage.start(slow.stage.support, ticket) for ticket in TICKETS]
    operator = Operator(slow, [handle.id for handle in handles])
    answering = asyncio.create_task(_answer(operator))
    moments = [chance.randint(1, count) for count in clean.attempts]
    hit = await asyncio.gather(*(_terminate(slow, *pair) for pair in zip(handles, moments, strict=True)))
    if history == "deleted":
        await asyncio.gather(*(_delete(slow.stage.client, handle.id) for handle in handles))
    answering.cancel()
    before = len([sale for sale in slow.stage.bought() if sale["run"] in operator.runs])
    for handle in (handle for handle, was_hit in zip(handles, hit, strict=True) if was_hit):
        await _resume(slow, handle.id)
    rows = {row["id"]: row for row in await operator.until_all_ended(180)}

    counts = await check_accounts(slow.stage, operator.runs)
    report(
        f"{sum(hit)} of {len(hit)} runs terminated (seed {seed}, at calls {moments}), history {history}, resumed:"
        f" {before} sales before; {counts}; {dict(operator.did)}"
    )
    assert clean.outputs == [rows[handle.id]["output"] for handle in handles]
    assert [int(was_hit) for was_hit in hit] == [rows[handle.id]["epoch"] for handle in handles]
    for handle in handles:
        assert ["run_end", "resumed"] == await _steps(slow, handle.id) or not rows[handle.id]["epoch"]


async def test_a_reset_by_other_hands_goes_on_without_buying_again(slow: Plant) -> None:
    """The Web UI's reset of an open run plays it again from its first task: the journal answers what was done."""
    handle = await slow.stage.start(slow.stage.support, TICKETS[3])
    await _until_waiting(slow, handle.id, "approval")
    before = len(slow.stage.bought(handle.id))

    await _reset(slow.stage.client, handle.id)
    [row] = await Operator(slow, [handle.id]).until_all_ended(180)

    assert ("completed", 0) == (row["state"], row["epoch"])
    assert before == len(slow.stage.bought(handle.id))
    assert 1 == (await check_accounts(slow.stage, [handle.id])).mails


@pytest.mark.parametrize("point", [0, -2])
async def test_a_reset_of_an_ended_run_is_refused_by_name_of_the_command(slow: Plant, point: int) -> None:
    """Only `vertebra resume` opens an ended run: from its start or a later task nothing leaves, and why is told."""
    handle = await slow.stage.start(slow.stage.support, TICKETS[0])
    await Operator(slow, [handle.id]).until_all_ended(180)
    await handle.result()  # its row says so a moment earlier: what is reset has ended for Temporal too
    before = len(slow.stage.bought(handle.id))

    again = await _reset(slow.stage.client, handle.id, point)
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(again.result(), 90)

    assert f"vertebra resume {handle.id}" in str(failure.value.cause)
    assert before == len(slow.stage.bought(handle.id))
    [row] = await slow.sql("select state, epoch from runs where id = %(run)s", run=handle.id)
    assert ("completed", 0) == (row["state"], row["epoch"])


async def test_an_aborted_run_goes_on_past_the_abort_it_died_of(slow: Plant) -> None:
    """The abort bound to its epoch; nothing is bought again, and the approval is asked anew."""
    handle = await slow.stage.start(slow.stage.support, TICKETS[3])
    await _until_waiting(slow, handle.id, "approval")
    await _command(slow, handle.id, "abort")
    await _until_ended(slow, handle.id)
    before = len(slow.stage.bought(handle.id))

    await _resume(slow, handle.id)
    [row] = await Operator(slow, [handle.id]).until_all_ended(180)

    assert ("completed", 1) == (row["state"], row["epoch"])
    assert before == len(slow.stage.bought(handle.id))
    await check_accounts(slow.stage, [handle.id])


async def test_a_run_that_timed_out_is_resumed(slow: Plant) -> None:
    """A stranger's start with a deadline of seconds ends as timed out; resumed, it goes on to its end."""
    handle = await slow.stage.client.start_workflow(
        "customer-support", TICKETS[3], id=f"late-{secrets.token_hex(4)}", task_queue=RUNS,
        execution_timeout=timedelta(seconds=20),
    )  # fmt: skip
    await _until_waiting(slow, handle.id, "approval")
    before = len(slow.stage.bought(handle.id))
    row = await _until_ended(slow, handle.id)
    assert "timed_out" == row["state"]

    await _resume(slow, handle.id)
    [row] = await Operator(slow, [handle.id]).until_all_ended(180)

    assert ("completed", 1) == (row["state"], row["epoch"])
    assert before == len(slow.stage.bought(handle.id))


async def test_a_completed_run_is_not_resumed(slow: Plant) -> None:
    """The command is refused before it is written."""
    handle = await slow.stage.start(slow.stage.support, TICKETS[4])
    await Operator(slow, [handle.id]).until_all_ended(180)

    with pytest.raises(PolicyError, match="completed"):
        await _command(slow, handle.id, "resume")


async def _answer(operator: Operator) -> None:
    while True:
        await operator.act()
        await asyncio.sleep(0.2)


async def _terminate(plant: Plant, handle: Handle, attempts: int) -> bool:
    """Terminate the run once it has made so many attempts; False if it was faster, or has just told its end."""
    for _ in range(1200):
        rows = await plant.sql("select 1 from attempts where run = %(run)s", run=handle.id)
        if len(rows) >= attempts:
            break
        await asyncio.sleep(0.05)
    try:
        await handle.terminate(reason="by hand")
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return bool((await _until_ended(plant, handle.id))["state"] == "terminated")


async def _delete(client: Client, run: str) -> None:
    """Delete the history and wait until it is gone."""
    execution = WorkflowExecution(workflow_id=run)
    request = DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
    await client.workflow_service.delete_workflow_execution(request, retry=True)
    for _ in range(600):
        try:
            await client.get_workflow_handle(run).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return
            if error.status not in AWAY:
                raise
        await asyncio.sleep(0.1)
    raise AssertionError(f"the history of {run} is still there")


async def _reset(client: Client, run: str, point: int = 0) -> Handle:
    """Reset to a completed task, by default the first, as the Web UI does."""
    history = await client.get_workflow_handle(run).fetch_history()
    tasks = [event for event in history.events if event.HasField("workflow_task_completed_event_attributes")]
    described = await client.get_workflow_handle(run).describe()
    made = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run, run_id=described.run_id),
            reason="by other hands",
            workflow_task_finish_event_id=tasks[point].event_id,
            request_id=secrets.token_hex(8),
        ),
        retry=True,
    )
    return client.get_workflow_handle(run, run_id=made.run_id)


async def _resume(plant: Plant, run: str) -> None:
    """Sign a resume, and wait until it is being carried out."""
    [before] = await plant.sql("select epoch from runs where id = %(run)s", run=run)
    await _command(plant, run, "resume")
    for _ in range(1200):
        [row] = await plant.sql("select epoch from runs where id = %(run)s", run=run)
        if row["epoch"] > before["epoch"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{run} was not resumed")


async def _command(plant: Plant, run: str, verb: commands.Verb) -> None:
    """Sign it as the CLI does."""
    connection = await connect(plant.migrated.dsn("vertebra_api"))
    async with connection:
        await commands.command(connection, Signer("ada", plant.stage.keys["ada"]), run, [commands.Order(verb)])


async def _steps(plant: Plant, run: str) -> list[str]:
    """The end of the first epoch and the resumption, in their order."""
    rows = await plant.sql(
        "select convert_from(body, 'UTF8')::jsonb ->> 'operation' as step from audit where stream = %(run)s"
        " and convert_from(body, 'UTF8')::jsonb ->> 'operation' in ('run_end', 'resumed') order by seq",
        run=run,
    )
    return [row["step"] for row in rows][:2]


async def _until_waiting(plant: Plant, run: str, kind: str) -> Row:
    for _ in range(1200):
        rows = await plant.sql("select * from waits where run = %(run)s and kind = %(kind)s", run=run, kind=kind)
        if rows:
            return rows[0]
        await asyncio.sleep(0.05)
    raise AssertionError(f"{run} never waited for {kind}")


async def _until_ended(plant: Plant, run: str) -> Row:
    for _ in range(1200):
        [row] = await plant.sql("select * from runs where id = %(run)s", run=run)
        if row["ended_at"] is not None:
            return row
        await asyncio.sleep(0.05)
    raise AssertionError(f"{run} never ended")
