"""When the workflow sandbox may be spared the questions about payloads."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.ground import Servers
from vertebra.workers.plugin import plugin
from vertebra.workers.runner import ContextFreeRunner

pytestmark = pytest.mark.server


class Reversing(PayloadCodec):
    """A codec of a user's own."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


async def runner_of(services: Servers, converter: DataConverter) -> WorkflowRunner:
    """What a worker of such a client runs workflows with."""
    client = await Client.connect(
        services.temporal_address, namespace=services.temporal_namespace, plugins=[plugin()], data_converter=converter
    )
    runner = Worker(client, task_queue="never-polled").config(active_config=True)["workflow_runner"]
    assert isinstance(runner, WorkflowRunner)
    return runner


async def test_without_a_codec_nobody_asks_where_a_payload_belongs(services: Servers) -> None:
    """The runner answers outside the sandbox, and keeps its restrictions."""
    runner = await runner_of(services, DataConverter.default)

    assert isinstance(runner, ContextFreeRunner)
    assert "vertebra.engine" in runner.restrictions.passthrough_modules
    assert "vertebra.workflows.graph_run" not in runner.restrictions.passthrough_modules


async def test_a_codec_is_told_where_a_payload_belongs(services: Servers) -> None:
    """With a codec the library's own runner stays: the codec may bind what it encrypts to its place."""
    runner = await runner_of(services, DataConverter(payload_codec=Reversing()))

    assert SandboxedWorkflowRunner is type(runner)
