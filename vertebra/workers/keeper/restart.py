"""The two ways in which Temporal makes an ended run go on: a reset of its history, or a start under the same id.

Both carry the command's id as request id, so that repeating them does nothing more.
"""

from __future__ import annotations

import json

from temporalio.api.common.v1 import Payload, Priority, WorkflowExecution
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, StartWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.converter import DataConverter, WorkflowSerializationContext, encode_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from vertebra.schemas.ids import RUNS
from vertebra.schemas.run import MarkedStart
from vertebra.store.transaction import Row
from vertebra.workers.keeper.duty import RPC_TIMEOUT
from vertebra.workers.keeper.reset_point import Scan
from vertebra.workflows.visibility import GRAPH, STATE, TENANT

LOCAL_ACTIVITY = "core_local_activity"


async def reset(client: Client, run: str, execution: str, command: str, point: int) -> str | None:
    """Reset an ended execution to a point of its history; the id of the one that goes on, None if it cannot be.

    Whatever lives under the run's id is terminated for it. Raises RPCError.
    """
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=run, run_id=execution),
        reason=f"vertebra resume, command {command}",
        workflow_task_finish_event_id=point,
        request_id=command,
        identity=client.identity,
    )
    try:
        made = await client.workflow_service.reset_workflow_execution(request, timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND):
            return None
        raise
    return made.run_id


async def scan(client: Client, run: str, execution: str) -> Scan:
    """Read a whole history, page by page. Raises RPCError."""
    found = Scan()
    handle = client.get_workflow_handle(run, run_id=execution)
    async for event in handle.fetch_history_events(rpc_timeout=RPC_TIMEOUT):
        found.see(event, reads_end=await _reads_end(client, run, event))
    return found


async def start(client: Client, row: Row, text: str, command: str) -> str | None:
    """Start the run's id again, whatever else has closed under it; the execution's id, None while another one runs.

    `row` is the run's, `text` its input as JSON. Raises RPCError.
    """
    marked = MarkedStart(vertebra=1, version=row["version"], input=text, resume=command)
    request = StartWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_id=row["id"],
        request_id=command,
        identity=client.identity,
        workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
        priority=Priority(fairness_key=row["tenant"][:64]),
    )
    request.workflow_type.name = row["graph"]
    request.task_queue.name = RUNS
    request.input.payloads.extend(await _encoded(client, row["id"], marked))
    encode_search_attributes(_shown(row), request.search_attributes)
    try:
        made = await client.workflow_service.start_workflow_execution(request, timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.ALREADY_EXISTS:
            return None
        raise
    return made.run_id


async def _encoded(client: Client, run: str, start: MarkedStart) -> list[Payload]:
    return await _converter(client, run).encode([start.model_dump(mode="json", exclude_none=True)])


def _shown(row: Row) -> TypedSearchAttributes:
    pairs = ((TENANT, row["tenant"]), (GRAPH, row["graph"]), (STATE, "running"))
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])


async def _reads_end(client: Client, run: str, event: HistoryEvent) -> bool:
    """Whether this is the record of a `load` that read an abort or a cancel."""
    marker = event.marker_recorded_event_attributes
    if marker.marker_name != LOCAL_ACTIVITY or "result" not in marker.details:
        return False
    about = json.loads(marker.details["data"].payloads[0].data)
    if about.get("activity_type") != "load":
        return False
    codec = _converter(client, run).payload_codec
    payloads = list(marker.details["result"].payloads)
    [payload] = payloads if codec is None else await codec.decode(payloads)
    return json.loads(payload.data).get("ended") is not None


def _converter(client: Client, run: str) -> DataConverter:
    return client.data_converter.with_context(WorkflowSerializationContext(client.namespace, run))
