"""What Temporal knows of a run: whether an execution of its chain lives, how it ended, or that it is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHistoryEventFilterType
from temporalio.service import RPCError, RPCStatusCode

from vertebra.schemas.run import RunEnd
from vertebra.workers.keeper.duty import RPC_TIMEOUT, Office

WAKE = "look"
"""The name of the signal decides nothing."""
ENDS: Mapping[int, RunEnd] = {
    Status.WORKFLOW_EXECUTION_STATUS_COMPLETED: "completed",
    Status.WORKFLOW_EXECUTION_STATUS_FAILED: "failed",
    Status.WORKFLOW_EXECUTION_STATUS_CANCELED: "cancelled",
    Status.WORKFLOW_EXECUTION_STATUS_TERMINATED: "terminated",
    Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: "timed_out",
}


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution under a run's id."""

    id: str
    chain: str
    end: RunEnd | None
    """How it ended; None while it lives, or where another execution of its chain goes on."""
    pending: frozenset[str]
    """Activity ids that Temporal still means to have done."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`mine` is the newest execution of the run's own chain; `other` one of another chain that stands before it."""

    mine: Execution | None
    other: Execution | None = None

    @property
    def lives(self) -> bool:
        return self.mine is not None and self.mine.end is None and self.other is None


async def standing(client: Client, run: str, chain: str, execution_id: str) -> Standing:
    """Ask by the run's id; where an execution of another chain has taken it, ask for the run's own. Raises RPCError."""
    newest = await describe(client, run)
    if newest is None or newest.chain == chain:
        return Standing(newest)
    own = await describe(client, run, execution_id)
    return Standing(own if own is not None and own.chain == chain else None, newest)


async def describe(client: Client, run: str, execution_id: str = "") -> Execution | None:
    """One execution, by default the newest; None if Temporal holds none. Raises RPCError."""
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id=run, run_id=execution_id)
    )
    try:
        found = await client.workflow_service.describe_workflow_execution(request, timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise
    shown = found.workflow_execution_info
    return Execution(
        id=shown.execution.run_id,
        chain=shown.first_run_id,
        end=ENDS.get(shown.status),
        pending=frozenset(activity.activity_id for activity in found.pending_activities),
    )


async def wake(office: Office, run: str) -> bool:
    """Send the wake; False if Temporal has no live execution to take it. Raises RPCError."""
    try:
        await office.client.get_workflow_handle(run).signal(WAKE, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return False
        raise
    office.world.watch.sent("wake")
    return True


async def why(client: Client, run: str, execution: Execution) -> str:
    """What its last event says about the end: who terminated it, what failed. Raises RPCError."""
    handle = client.get_workflow_handle(run, run_id=execution.id)
    closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
    told = ""
    async for event in handle.fetch_history_events(event_filter_type=closing, rpc_timeout=RPC_TIMEOUT):
        if event.HasField("workflow_execution_terminated_event_attributes"):
            ended = event.workflow_execution_terminated_event_attributes
            told = ": ".join(part for part in (f"by {ended.identity}" if ended.identity else "", ended.reason) if part)
        elif event.HasField("workflow_execution_failed_event_attributes"):
            told = event.workflow_execution_failed_event_attributes.failure.message
    return told
