"""Puts the id of the acting context into the header of everything that a workflow starts."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.converter import default
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from vertebra.workers.interceptor import CONTEXT_HEADER


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        run: Any = workflow.instance()
        context = run.context_for(input.activity_id)
        input.headers = {**input.headers, CONTEXT_HEADER: default().payload_converter.to_payload(context)}
        return super().start_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class Headers(Interceptor):
    """Re-adds the context id to every activity. The gate checks that it belongs to the run."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        return _Inbound
