"""The few words that a client says to Temporal: start this, look again, what became of that."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest, DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from vertebra.client.connection import Address, connect, opened, refused, unreachable
from vertebra.client.starts import Start
from vertebra.schemas.errors import Conflict, StoreError
from vertebra.schemas.ids import RUNS

WAKE = "look"
"""Any name wakes a run; this one reads well in the history."""
ATTRIBUTES = {
    "VtTenant": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "VtState": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "VtGraph": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "VtReviewers": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "VtDue": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}
"""An unregistered one hangs a run."""
_CALL_S = 10.0
_LOOKS, _LOOK_S = 60, 0.5
"""A server looks for what is new in its namespaces every ten seconds, or when it is asked for what it does not know."""
_WAKE_S = 2.0
_LATELY = timedelta(minutes=2)
_TENANT = SearchAttributeKey.for_keyword("VtTenant")
_GRAPH = SearchAttributeKey.for_keyword("VtGraph")
_STATE = SearchAttributeKey.for_keyword("VtState")


async def start(client: Client, wanted: Start) -> None:
    """Start the run. Raises Conflict for an id that was used before, StoreError."""
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(_TENANT, wanted.tenant),
            SearchAttributePair(_GRAPH, wanted.graph),
            SearchAttributePair(_STATE, "running"),
        ]
    )
    try:
        async with asyncio.timeout(_CALL_S):
            await client.start_workflow(
                wanted.graph,
                wanted.argument,
                id=wanted.run,
                task_queue=RUNS,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                priority=Priority(fairness_key=wanted.tenant),
                search_attributes=attributes,
            )
    except WorkflowAlreadyStartedError:
        raise Conflict(f"the run id {wanted.run!r} was used before", do="start again: a new id is made") from None
    except RPCError as error:
        raise refused(error, client) from None
    except TimeoutError:
        raise unreachable(client.service_client.config.target_host) from None


async def wake(address: Address, run: str) -> bool:
    """Tell a run to look at its rows; False if Temporal was not reached in 2 s, or holds no such open run.

    Nothing is lost then: the outbox repeats the wake until the run has consumed the row.
    """
    try:
        async with asyncio.timeout(_WAKE_S):
            client = await opened(address)
            await client.get_workflow_handle(run).signal(WAKE)
    except (RPCError, RuntimeError, OSError):  # of which a timeout is one
        return False
    return True


async def refusal(client: Client, run: str) -> str | None:
    """Why the start of a run failed, or None while it goes on or has ended well. Raises StoreError."""
    handle = client.get_workflow_handle(run)
    try:
        async with asyncio.timeout(_CALL_S):
            described = await handle.describe()
            if described.status in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED):
                return None
            await handle.result()
    except WorkflowFailureError as error:
        cause = error.cause
        return cause.message if isinstance(cause, ApplicationError) else str(cause)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return "Temporal holds no such run"
        raise refused(error, client) from None
    except TimeoutError:
        raise unreachable(client.service_client.config.target_host) from None
    return None


async def has_worker(address: Address, host: str | None = None) -> bool:
    """Whether a worker asks for runs; of this host, where one is given, within the last two minutes."""
    client = await connect(address)
    request = DescribeTaskQueueRequest(
        namespace=address.namespace,
        task_queue=TaskQueue(name=RUNS),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    try:
        async with asyncio.timeout(_CALL_S):
            found = await client.workflow_service.describe_task_queue(request)
    except RPCError as error:
        raise refused(error, client) from None
    except TimeoutError:
        raise unreachable(address.address) from None
    if host is None:
        return len(found.pollers) > 0
    since = datetime.now(UTC) - _LATELY  # Temporal lists who has asked for five minutes; one question lasts up to one
    return any(
        poller.identity.endswith(f"@{host}") and poller.last_access_time.ToDatetime(UTC) > since
        for poller in found.pollers
    )


async def register_attributes(address: Address) -> list[str]:
    """Make the namespace know our search attributes; the names that it did not know. Raises StoreError.

    When this returns, runs can be started with them: the servers of a cluster hear of them one after the other.
    """
    client = await connect(address)
    try:
        async with asyncio.timeout(_CALL_S):
            known = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=address.namespace)
            )
            missing = {name: kind for name, kind in ATTRIBUTES.items() if name not in known.custom_attributes}
            if missing:
                await client.operator_service.add_search_attributes(
                    AddSearchAttributesRequest(namespace=address.namespace, search_attributes=missing)
                )
        await _until_known(client, address.namespace)
    except RPCError as error:
        raise refused(error, client) from None
    except TimeoutError:
        raise unreachable(address.address) from None
    return list(missing)


async def _until_known(client: Client, namespace: str) -> None:
    query = " and ".join(f"{name} is null" for name in ATTRIBUTES)
    request = CountWorkflowExecutionsRequest(namespace=namespace, query=query)
    for _ in range(_LOOKS):
        try:
            async with asyncio.timeout(_CALL_S):
                await client.workflow_service.count_workflow_executions(request)
            return
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT:
                raise
        await asyncio.sleep(_LOOK_S)
    told = "Temporal took the search attributes and does not know them yet"
    raise StoreError(told, at=f"namespace {namespace}", do="try again later")
