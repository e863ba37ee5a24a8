"""A worker of somebody else: under any workflow id it schedules activities of any name, id, input and header."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue, RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from tests.stage import Stage
from vertebra.schemas.canonical import Json, json_text

QUEUE = "intruders"
PATIENCE = timedelta(minutes=1)
"""What takes longer counts as stopped, so nothing may that only waits for a busy machine."""


@dataclass(frozen=True)
class Call:
    """One activity. `given` and `header` are JSON texts, sent as they are; no header if None."""

    name: str
    activity: str
    id: str
    given: tuple[str, ...]
    header: str | None = None
    queue: str = "vertebra-effects"


@dataclass(frozen=True)
class Came:
    """What became of it: the type of the failure, or the result."""

    name: str
    failure: str | None
    result: Any = None

    @property
    def stopped(self) -> str:
        """Its name, if it came to nothing: a failure, or an answer that is a denial."""
        denied = isinstance(self.result, dict) and self.result.get("failed") is True
        return self.name if self.failure is not None or denied else f"{self.name}: {self.result}"


@workflow.defn(name="intruder", sandboxed=False)
class Intruder:
    """Makes one call after the other."""

    def __init__(self) -> None:
        self.header: str | None = None

    @workflow.run
    async def run(self, calls: list[Call]) -> list[Came]:
        """What became of each."""
        return [await self._make(call) for call in calls]

    async def _make(self, call: Call) -> Came:
        self.header = call.header
        try:
            result = await workflow.execute_activity(
                call.activity,
                args=[
                    RawValue(Payload(metadata={"encoding": b"json/plain"}, data=text.encode())) for text in call.given
                ],
                activity_id=call.id,
                task_queue=call.queue,
                schedule_to_close_timeout=PATIENCE,
                heartbeat_timeout=PATIENCE,
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except ActivityError as error:
            return Came(call.name, getattr(error.cause, "type", None) or type(error.cause).__name__)
        return Came(call.name, None, result)


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        header = workflow.instance().header
        if header is not None:
            payload = Payload(metadata={"encoding": b"json/plain"}, data=header.encode())
            input.headers = {**input.headers, "vertebra-context": payload}
        return super().start_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Headers(Interceptor):
    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _Inbound


@asynccontextmanager
async def intruding(stage: Stage) -> AsyncIterator[Client]:
    """The intruder's client, with its worker at work."""
    address = stage.client.service_client.config.target_host
    client = await Client.connect(address, namespace=stage.client.namespace)
    async with Worker(client, task_queue=QUEUE, workflows=[Intruder], interceptors=[_Headers()]):
        yield client


async def make(client: Client, run: str, calls: list[Call]) -> list[Came]:
    """Make the calls in the name of a run whose execution is closed."""
    handle = await client.start_workflow(
        Intruder.run, calls, id=run, task_queue=QUEUE, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE
    )
    return await handle.result()


def given(kind: str, node: str, **fields: Json) -> tuple[str]:
    """The input of a call, as JSON."""
    return (json_text({"kind": kind, "node": node, "visit": 1, **fields}),)
