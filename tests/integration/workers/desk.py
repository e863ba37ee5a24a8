"""What tests of the keeper share: an office over the stage, and rows as the API and the gate write them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, LiteralString

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.integration.runs.waits import row_of
from tests.stage import Stage
from vertebra.client.connection import AWAY
from vertebra.store.transaction import Query, Row, once
from vertebra.workers.keeper import Keeper, Times, executions, unseen
from vertebra.workers.keeper import resume as resuming
from vertebra.workers.keeper.duty import Office

QUEUE = "stand-ins"
WAYS = [pytest.param(True, id="history"), pytest.param(False, id="no-history")]
RUN: LiteralString = """
insert into runs (id, chain, execution_id, graph, version, graph_digest, correlation_id, principal, started_by, input,
    input_digest, touched_at)
values (%(id)s, %(chain)s, %(chain)s, 'stand-in', '1.0.0', 'sha256:0', %(id)s, 'svc-support', 'ada', '{}', 'sha256:0',
    now() - interval '1 hour')
"""
Handle = WorkflowHandle[object, object]


@workflow.defn(name="stand-in")
class StandIn:
    """Stands for a run where only its execution matters."""

    def __init__(self) -> None:
        self.looks = 0

    @workflow.run
    async def run(self, what: str) -> None:
        if what == "fail":
            raise ApplicationError("a bug", non_retryable=True)
        if what == "continue":
            await workflow.sleep(0.1)
            workflow.continue_as_new("wait")
        if what == "call":
            await workflow.execute_activity(
                "nobody", activity_id="draft#1.1", start_to_close_timeout=timedelta(hours=1)
            )
        if what != "return":
            await workflow.wait_condition(lambda: False)

    @workflow.signal
    async def look(self) -> None:
        self.looks += 1

    @workflow.query
    def seen(self) -> int:
        return self.looks


@asynccontextmanager
async def stand_ins(stage: Stage) -> AsyncIterator[None]:
    """A worker for stand-ins."""
    plain = await Client.connect(stage.client.service_client.config.target_host, namespace=stage.client.namespace)
    async with Worker(
        plain,
        task_queue=QUEUE,
        workflows=[StandIn],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield


def office(stage: Stage, times: Times | None = None) -> Office:
    return Office(stage.world, stage.client, times or Times(untouched_s=0))


@asynccontextmanager
async def keeping(stage: Stage, times: Times) -> AsyncIterator[None]:
    """A keeper at work."""
    task = asyncio.create_task(Keeper(stage.world, stage.client, times).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def stand_in(stage: Stage, what: str, lasts: timedelta | None = None) -> tuple[str, Handle]:
    """A run's row and an execution that stands for it."""
    run = f"stand-in-{secrets.token_hex(6)}"
    handle: Handle = await stage.client.start_workflow(
        "stand-in", what, id=run, task_queue=QUEUE, execution_timeout=lasts
    )
    # not asked for: one that continues may have done so by then
    await stage.sql(RUN, id=run, chain=handle.first_execution_run_id)
    return run, handle


async def asks(stage: Stage, run: str, command: str) -> None:
    """The outbox row of a resume, as the API writes it."""
    insert = "insert into outbox (kind, run, ref) values ('resume', %(run)s, %(ref)s)"
    await once(stage.api, [Query("resume", insert, {"run": run, "ref": f"command/{command}"})])


async def resume(stage: Stage, run: str, **fields: object) -> str:
    """Sign a resume and leave it in the outbox; gives the command's id."""
    command = await stage.command(run, "resume", wake=False, **fields)  # type: ignore[arg-type]
    await asks(stage, run, command)
    return command


async def told(stage: Stage, run: str) -> list[dict[str, object]]:
    """The run's audit entries, in order."""
    rows = await stage.sql("select body from audit where stream = %(run)s order by seq", run=run)
    return [json.loads(bytes(row["body"])) for row in rows]


async def operations(stage: Stage, run: str) -> list[object]:
    return [entry["operation"] for entry in await told(stage, run)]


async def outbox(stage: Stage, run: str, kind: str) -> list[Row]:
    return await stage.sql(
        "select *, due_at - now() as due_in from outbox where run = %(run)s and kind = %(kind)s order by id",
        run=run,
        kind=kind,
    )


async def until(check: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Wait until something holds, or there is something."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110  # rows and servers ring no bell
            await asyncio.sleep(0.05)


class Cut:
    """A client whose service loses its connection at one method, as often as said."""

    def __init__(
        self, client: object, method: str, times: int, status: RPCStatusCode = RPCStatusCode.UNAVAILABLE
    ) -> None:
        self._client, self._method, self.left, self._status = client, method, times, status

    def __getattr__(self, name: str) -> Any:
        if name == "workflow_service":
            return Cut(getattr(self._client, name), self._method, self.left, self._status)
        if name == self._method and self.left > 0:
            return self._fail
        return getattr(self._client, name)

    async def _fail(self, *_: object, **__: object) -> None:
        raise RPCError("cut", self._status, b"")


async def delete(stage: Stage, run: str) -> None:
    """Delete the history, and wait until Temporal has; it may be out of reach for a moment meanwhile."""
    execution = WorkflowExecution(workflow_id=run)
    request = DeleteWorkflowExecutionRequest(namespace=stage.client.namespace, workflow_execution=execution)
    await stage.client.workflow_service.delete_workflow_execution(request, retry=True)

    async def gone() -> bool:
        try:
            return await executions.describe(stage.client, run) is None
        except RPCError as error:
            if error.status not in AWAY:
                raise
            return False

    await until(gone, 100)


async def go_on(stage: Stage, run: str) -> None:
    """Let the keeper's duty work until it is done with every resume of the run."""

    async def done() -> bool:
        await stage.sql("update outbox set due_at = now() where run = %(run)s and kind = 'resume'", run=run)
        await resuming.do(office(stage))
        return all(row["done_at"] is not None for row in await outbox(stage, run, "resume"))

    await until(done)


async def goes_on(stage: Stage, handle: Handle, history: bool) -> None:
    """Terminate the run, and resume it with or without its history."""
    await handle.terminate(reason="by hand")
    place = await row_of(handle.id, stage)
    found = await executions.standing(stage.client, handle.id, place["chain"], place["execution_id"])
    assert await unseen.close_unseen(office(stage), place, found)
    if not history:
        await delete(stage, handle.id)
    await resume(stage, handle.id)
    await go_on(stage, handle.id)
