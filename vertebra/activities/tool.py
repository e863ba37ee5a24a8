"""Run a tool: check its arguments against its schema, run it once where it may run, check its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from pydantic import JsonValue

from vertebra.activities.performed import Caller, Performed, unsent
from vertebra.activities.results import kept
from vertebra.activities.world import World
from vertebra.schemas.call import CallError, CallInput, CallResult, Prepared, Telemetry
from vertebra.schemas.canonical import canonical_bytes, digest_of, json_text
from vertebra.schemas.errors import (
    BadArguments,
    BadToolOutput,
    EgressRefused,
    SandboxUnavailable,
    ToolError,
    ToolHostLost,
    VertebraError,
)
from vertebra.schemas.graph import REPEATABLE, CompiledGraph, Node
from vertebra.schemas.money import MicroUSD
from vertebra.schemas.tool import ToolResult, ToolSpec
from vertebra.tools.call import call_project_tool, call_tool
from vertebra.tools.checks import check_arguments
from vertebra.tools.context import ToolContext

_FINAL = (BadArguments, BadToolOutput, EgressRefused, SandboxUnavailable)
"""Failures that another attempt would repeat."""


async def prepare(given: CallInput, graph: CompiledGraph, node: Node, tenant: str, world: World) -> Prepared:
    """The final arguments and the tool's pin. Raises UnknownTool, BadArguments."""
    spec = await _spec(given.tool or "", graph, tenant, world)
    arguments: JsonValue = dict(given.values)
    check_arguments(spec, arguments)
    request = canonical_bytes(
        {"kind": "tool", "tool": spec.name, "tool_pin": spec.digest, "arguments": json_text(arguments)}
    )
    return Prepared(
        kind="tool",
        request=request,
        digest=digest_of(request),
        effect=spec.effect,
        agent=node.agent,
        tool=spec.name,
        tool_pin=spec.digest,
        bound_microusd=spec.cost_microusd,
        permissions=spec.permissions,
        arguments=arguments,
    )


async def perform(prepared: Prepared, graph: CompiledGraph, node: Node, caller: Caller, world: World) -> Performed:
    """Run the tool once. For a model, a failure is an answer that it reads."""
    try:
        call = await _call(prepared, graph, caller, world)
    except VertebraError as error:
        return unsent(error, caller)
    began = world.elapsed()
    try:
        answer = await call()
        value, ref, large = kept(answer.content)
    except ToolError as error:
        return _failed(error, prepared, node, caller, world.ms_since(began))
    duration_ms = world.ms_since(began)
    telemetry = Telemetry(cost_microusd=prepared.bound_microusd, latency_ms=duration_ms)
    result = CallResult(result=value, ref=ref, telemetry=telemetry, attempts=caller.attempt)
    return Performed(
        status="done",
        books="settled",
        result=result,
        microusd=MicroUSD(prepared.bound_microusd),
        output=json_text(answer.content),
        duration_ms=duration_ms,
        artifacts=large,
    )


async def _spec(name: str, graph: CompiledGraph, tenant: str, world: World) -> ToolSpec:
    """The definition that counts: of a project's tool the pinned one, whose text is stored with it; else this worker's.

    Raises UnknownTool; where this worker's is another one than was pinned, the gate says so.
    """
    pin = graph.tools.get(name)
    if pin is not None and name not in world.registry:
        pinned = await world.tool(tenant, pin)
        if pinned.source is not None:
            return pinned
    return world.registry.get(name).spec


async def _call(
    prepared: Prepared, graph: CompiledGraph, caller: Caller, world: World
) -> Callable[[], Awaitable[ToolResult]]:
    """The call, ready to be made: everything that it needs is there."""
    name, job_id = prepared.tool or "", f"{caller.call_id}.{caller.attempt}"
    spec = _within(await _spec(name, graph, caller.tenant, world), caller)
    if spec.source is not None:
        source = await world.source(caller.tenant, spec.source)
        return lambda: call_project_tool(spec, source, prepared.arguments, host=world.tool_host, job_id=job_id)
    tool = replace(world.registry.get(name), spec=spec)
    secrets = {secret: world.secret(secret) or "" for secret in tool.spec.secrets}
    context = ToolContext(
        idempotency_key=caller.call_id,
        project=world.project,
        maildir=world.maildir,
        deadline=world.now() + timedelta(seconds=caller.timeout_s),
        egress=world.egress,
        hosts=graph.spine.hosts,
        read_folders=world.read_folders,
    )
    return lambda: call_tool(tool, prepared.arguments, context, host=world.tool_host, job_id=job_id, secrets=secrets)


def _within(spec: ToolSpec, caller: Caller) -> ToolSpec:
    """The definition, with no more time than the attempt has: else Temporal would begin another beside this one."""
    return spec.model_copy(update={"timeout_s": min(spec.timeout_s, caller.timeout_s)})


def _failed(error: ToolError, prepared: Prepared, node: Node, caller: Caller, duration_ms: int) -> Performed:
    told = caller.error(type(error).__name__, error.message, error.do)
    final, repeatable = isinstance(error, _FINAL), prepared.effect in REPEATABLE
    if not final and not repeatable:
        return Performed(status="lost", books="unknown", error=told, duration_ms=duration_ms)
    if isinstance(error, ToolHostLost):
        return Performed(status="again", books="unknown", error=told, duration_ms=duration_ms)
    left = not final and caller.counted + 1 < node.retry.max_attempts
    if left and (node.type != "agent" or prepared.effect != "pure"):
        return Performed(status="again", books="released", error=told, counts=True, duration_ms=duration_ms)
    if node.type == "agent":
        return _read_by_model(told, duration_ms)
    return Performed(status="failed", books="released", error=told, counts=True, duration_ms=duration_ms)


def _read_by_model(told: CallError, duration_ms: int) -> Performed:
    """What a tool without effects says at once, and the others when all attempts under their one key have failed."""
    content: JsonValue = {"error": {"kind": told.type, "message": told.message, "do": told.do}}
    result = CallResult(result=content, failed=True, attempts=told.attempts)
    return Performed(
        status="done", books="released", result=result, error=told, output=told.message, duration_ms=duration_ms
    )
