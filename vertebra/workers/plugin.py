"""The whole integration as one client plugin, which reaches worker and replayer: converter, interceptors, sandbox."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter, DefaultFailureConverter, DefaultPayloadConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import Interceptor, WorkerConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from vertebra.workers.failures import Untraced
from vertebra.workers.headers import Headers
from vertebra.workers.runner import ContextFreeRunner, is_context_free
from vertebra.workflows.graph_run import GraphRun

PASSED = (
    *("vertebra.engine", "vertebra.policies", "vertebra.schemas"),
    *(f"vertebra.workflows.{name}" for name in ("calls", "interpreter", "pending", "start", "visibility")),
)
"""Passed through the workflow sandbox: pure by import contract, so not imported again for every run."""


class _Plugin(SimplePlugin):
    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        configured = super().configure_worker(config)
        runner = configured.get("workflow_runner")
        # here and not in `_runner`: whatever other plugins did to the converter is done by now
        if type(runner) is SandboxedWorkflowRunner and is_context_free(configured["client"].data_converter):
            configured["workflow_runner"] = ContextFreeRunner(runner.restrictions, runner.runner_class)
        return configured


def plugin(interceptors: Sequence[Interceptor] = ()) -> SimplePlugin:
    """What `Client.connect(plugins=[...])` needs. A user's own codec is kept."""
    return _Plugin(
        "vertebra",
        data_converter=_converter,
        interceptors=[Headers(), *interceptors],
        workflows=[GraphRun],
        workflow_runner=_runner,
    )


def _converter(given: DataConverter | None) -> DataConverter:
    converter = given or DataConverter.default
    if converter.failure_converter_class is DefaultFailureConverter:
        converter = dataclasses.replace(converter, failure_converter_class=Untraced)
    if converter.payload_converter_class is not DefaultPayloadConverter:
        return converter
    return dataclasses.replace(converter, payload_converter_class=PydanticPayloadConverter)


def _runner(given: WorkflowRunner | None) -> WorkflowRunner:
    if given is not None and not isinstance(given, SandboxedWorkflowRunner):
        return given
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED))
