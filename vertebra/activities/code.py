"""Ask a router's function which node comes next: project code, in the sandbox, without any effect."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from vertebra.activities.performed import Caller, Performed, unsent
from vertebra.activities.world import World
from vertebra.schemas.call import CallInput, CallResult, Prepared, Telemetry
from vertebra.schemas.canonical import canonical_bytes, digest_of, json_text
from vertebra.schemas.errors import BadToolOutput, SandboxUnavailable, ToolError, ToolHostLost, VertebraError
from vertebra.schemas.graph import CompiledGraph, Node
from vertebra.schemas.tool import ToolSpec
from vertebra.tools.call import call_project_tool

_FINAL = (BadToolOutput, SandboxUnavailable)


async def prepare(given: CallInput, graph: CompiledGraph, node: Node, tenant: str, world: World) -> Prepared:
    """The function by its text's digest, and its arguments."""
    assert node.router is not None
    arguments: JsonValue = dict(given.values)
    plain = {"kind": "code", "function": node.router.function, "source": node.router.source}
    request = canonical_bytes({**plain, "arguments": json_text(arguments)})
    return Prepared(kind="code", request=request, digest=digest_of(request), effect="pure", arguments=arguments)


async def perform(prepared: Prepared, graph: CompiledGraph, node: Node, caller: Caller, world: World) -> Performed:
    """Run the function once. Its answer must be a node that an edge leads to."""
    assert node.router is not None
    assert node.router.source is not None
    try:
        source = await world.source(caller.tenant, node.router.source)
    except VertebraError as error:
        return unsent(error, caller)
    began = world.elapsed()
    job_id = f"{caller.call_id}.{caller.attempt}"
    try:
        named = graph.routes[node.id].take == "named"
        spec = _spec(node, caller, {} if named else {"type": "string"})
        answer = await call_project_tool(spec, source, prepared.arguments, host=world.tool_host, job_id=job_id)
        targets = [target for edge in graph.routes[node.id].edges for target in edge.to]
        if named and answer.value not in targets:
            message = f"router {node.id!r} chose {json_text(answer.value)[:200]}, to which no edge leads"
            do = f"let it return the name of a node: {', '.join(targets)}; or override this node with one"
            raise BadToolOutput(message, do=do)
    except ToolError as error:
        return _failed(error, node, caller, world.ms_since(began))
    duration_ms = world.ms_since(began)
    result = CallResult(
        result={"next": answer.value}, telemetry=Telemetry(latency_ms=duration_ms), attempts=caller.attempt
    )
    return Performed(
        status="done", books="settled", result=result, output=json_text(answer.value), duration_ms=duration_ms
    )


def _spec(node: Node, caller: Caller, answer: dict[str, JsonValue]) -> ToolSpec:
    return ToolSpec(
        name=node.id,
        description="A router.",
        input_schema={"type": "object"},
        output_schema=answer,
        effect="pure",
        runs="sandbox",
        timeout_s=min(caller.timeout_s, 3600),
        function=node.router.function if node.router is not None else None,
    )


def _failed(error: ToolError, node: Node, caller: Caller, duration_ms: int) -> Performed:
    told = caller.error(type(error).__name__, error.message, error.do)
    if isinstance(error, ToolHostLost):
        return Performed(status="again", books="unknown", error=told, duration_ms=duration_ms)
    left = not isinstance(error, _FINAL) and caller.counted + 1 < node.retry.max_attempts
    status: Literal["again", "failed"] = "again" if left else "failed"
    return Performed(status=status, books="released", error=told, counts=True, duration_ms=duration_ms)
