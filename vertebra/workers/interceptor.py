"""The gate as the worker's activity interceptor: no activity can be registered around it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from vertebra.activities.effects import ALLOWED, KINDS, Allowed
from vertebra.activities.inputs import resolved
from vertebra.activities.performed import Caller, Performed
from vertebra.activities.world import World
from vertebra.schemas.call import CallInput, CallKind, CallResult, Prepared
from vertebra.schemas.canonical import canonical_bytes, digest_of, json_text
from vertebra.schemas.errors import BadJson, NotFound, VertebraError
from vertebra.schemas.graph import Node
from vertebra.schemas.ids import activity_id, derive, node_of, trace_id
from vertebra.schemas.strict_json import read_json
from vertebra.store.queries import named
from vertebra.store.transaction import Query, once
from vertebra.workers import errors
from vertebra.workers.gate.element import GateCall
from vertebra.workers.gate.parts import Attempt
from vertebra.workers.gate.passage import Stopped, cross
from vertebra.workers.gate.turns import Turns

CONTEXT_HEADER = "vertebra-context"
UNGATED = ("admit", "decide", "open_approval", "load", "keep", "close")
"""The recorded steps of the shell: they write rows of the run, and have no effect on anything else."""
MAX_HEADER_BYTES = 1_000
HEARTBEAT_S = 3.0
MAX_PINS = 10_000
"""Runs whose pins one worker remembers."""


class Pins(NamedTuple):
    """What of a run never changes."""

    tenant: str
    graph_digest: str
    correlation_id: str


class Named(NamedTuple):
    """What an activity says of itself: whose it is, and under which name the run asked for it."""

    run: str
    activity_id: str
    execution_id: str
    context: str | None
    """The context id in its header."""


class Gate(Interceptor):
    """Put the gate around every activity of a worker."""

    def __init__(self, world: World) -> None:
        self._world = world
        # here and not below: the library makes an inbound interceptor for every task
        self._pins: dict[str, Pins] = {}
        self._turns = Turns(world.pool)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _GateInbound(next, self._world, self._pins, self._turns)


class _GateInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, world: World, pins: dict[str, Pins], turns: Turns) -> None:
        super().__init__(next)
        self._world = world
        self._pins = pins
        self._turns = turns

    async def execute_activity(self, input: ExecuteActivityInput) -> object:
        kind = activity.info().activity_type
        try:
            if kind in UNGATED:
                return await self._step(kind, input)
            if kind not in KINDS:
                raise ApplicationError(
                    f"{kind!r} is no effect that the gate knows", type="NotGated", non_retryable=True
                )
            async with _heartbeats():
                return await self._gated(kind, input)
        except VertebraError as error:
            raise errors.of(error) from None

    async def _step(self, kind: str, input: ExecuteActivityInput) -> object:
        result: object = await self.next.execute_activity(input)
        if kind == "close":
            run = activity.info().workflow_id or ""
            self._pins.pop(run, None)
            self._turns.drop(run)
        return result

    async def _gated(self, kind: CallKind, input: ExecuteActivityInput) -> CallResult:
        given = input.args[0] if input.args else None
        if not isinstance(given, CallInput):
            raise ApplicationError("the input is no call", type="BadCall", non_retryable=True)
        call = await self._call(kind, given, _context(input))
        _mark_lines(call)

        async def perform(attempt: Attempt) -> Performed:
            ALLOWED.set(Allowed(call.prepared, call.graph, call.node, caller(call, attempt)))
            performed = await self.next.execute_activity(input)
            assert isinstance(performed, Performed)
            return performed

        try:
            return await cross(call, self._world, self._turns, perform)
        except Stopped as stopped:
            raise errors.told(stopped, activity.info().attempt, call.node.retry) from None

    async def _call(self, kind: CallKind, given: CallInput, context: str | None) -> GateCall:
        info = activity.info()
        called = Named(info.workflow_id or "", info.activity_id, info.workflow_run_id or "", context)
        return await asked(kind, given, called, self._world, self._pins)


async def asked(kind: CallKind, given: CallInput, called: Named, world: World, pins: dict[str, Pins]) -> GateCall:
    """The call as the gate sees it: named by Temporal, prepared from the published graph. Raises ApplicationError."""
    run = called.run
    tenant, graph_digest, correlation_id = await _pinned(run, world, pins)
    graph = await world.graph(graph_digest)
    node_id, visit = _place(called.activity_id)
    node = graph.nodes.get(node_id)
    same = (given.node, given.visit, given.kind) == (node_id, visit, kind)
    if node is None or not same or not _is_nodes_own(given, node, called.activity_id):
        raise ApplicationError("the input is not of this activity", type="BadCall", non_retryable=True)
    given = await resolved(given, tenant, world)
    refused: VertebraError | None = None
    try:
        prepared = await KINDS[kind].prepare(given, graph, node, tenant, world)
    except NotFound:
        raise
    except VertebraError as error:
        prepared, refused = _unprepared(given, node.agent), error
    return GateCall(
        run=run,
        tenant=tenant,
        correlation_id=correlation_id,
        activity_id=called.activity_id,
        execution_id=called.execution_id,
        worker=world.worker,
        graph=graph,
        node=node,
        given=given,
        prepared=prepared,
        context=called.context,
        id=derive(run, called.activity_id, prepared.digest, "call"),
        refused=refused,
    )


async def _pinned(run: str, world: World, pins: dict[str, Pins]) -> Pins:
    if run not in pins:
        [rows] = await once(world.pool, [Query("run_pins", named("gate", "run_pins"), {"run": run})])
        if not rows:
            raise ApplicationError(f"no run {run!r} was admitted", type="NotAdmitted", non_retryable=True)
        if len(pins) > MAX_PINS:
            pins.clear()
        pins[run] = Pins(rows[0]["tenant"], rows[0]["graph_digest"], rows[0]["correlation_id"])
    return pins[run]


def _mark_lines(call: GateCall) -> None:
    """Have every log line of this activity's task say what it is about."""
    about = {"run": call.run, "node": call.node.id, "agent": call.agent, "tenant": call.tenant}
    told = {name: value for name, value in about.items() if value}
    structlog.contextvars.bind_contextvars(**told, trace=trace_id(call.correlation_id))


def _context(input: ExecuteActivityInput) -> str | None:
    payload = input.headers.get(CONTEXT_HEADER)
    if payload is None:
        return None
    with contextlib.suppress(BadJson):
        value = read_json(payload.data, max_bytes=MAX_HEADER_BYTES)
        return value if isinstance(value, str) else None
    return None


def _place(activity_id: str) -> tuple[str, int]:
    try:
        return node_of(activity_id)
    except ValueError:
        raise ApplicationError(
            f"{activity_id!r} is no activity id of ours", type="BadCall", non_retryable=True
        ) from None


def _is_nodes_own(given: CallInput, node: Node, named: str) -> bool:
    """Whether the engine makes such a call for this node, under this very name: nobody else may use its rights."""
    place = activity_id(node.id, given.visit, given.turn)
    if given.visit < 1 or (given.turn is not None and given.turn < 1):
        return False
    match node.type, given.kind:
        case (("llm" | "agent"), "llm"):
            return given.turn is not None and named == place
        case "tool", "tool":
            return given.tool == node.tool and given.tool_call is None and given.turn is None and named == place
        case ("http", "http") | ("router", "code"):
            return given.tool is None and given.tool_call is None and given.turn is None and named == place
        case "agent", "tool":
            return given.tool_call is not None and given.turn is not None and _is_one_of(named, place)
    return False


def _is_one_of(named: str, turn: str) -> bool:
    before, _, index = named.rpartition(".")
    return before == turn and re.fullmatch("[1-9][0-9]{0,5}", index) is not None


def caller(call: GateCall, attempt: Attempt) -> Caller:
    """Whom an attempt acts for."""
    return Caller(
        run=call.run,
        tenant=call.tenant,
        node=call.node.id,
        visit=call.given.visit,
        turn=call.given.turn or 1,
        call_id=call.id,
        attempt=attempt.n,
        counted=attempt.counted,
        timeout_s=call.node.timeout_s,
    )


def _unprepared(given: CallInput, agent: str | None) -> Prepared:
    """Stands for a request that could not be made, so that its refusal is on record too."""
    request = canonical_bytes({"kind": given.kind, "tool": given.tool, "values": json_text(given.values)})
    return Prepared(
        kind=given.kind, request=request, digest=digest_of(request), effect="pure", agent=agent, tool=given.tool
    )


@contextlib.asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tell Temporal every 3 s that this attempt lives, and so learn of cancellation."""
    beating = asyncio.create_task(_beat())
    try:
        yield
    finally:
        beating.cancel()


async def _beat() -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        activity.heartbeat()
