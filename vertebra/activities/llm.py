"""Ask a model: render the request from what the graph pins, send it once, read the reply as an attacker's."""

from __future__ import annotations

from pydantic import TypeAdapter

from vertebra.activities.performed import Caller, Performed, unsent
from vertebra.activities.results import kept
from vertebra.activities.world import World
from vertebra.policies.budget import bound_of, settle
from vertebra.prompts.parse import parse_output
from vertebra.prompts.render import render
from vertebra.providers.errors import unfinished
from vertebra.providers.protocol import Place
from vertebra.schemas.call import CallError, CallInput, CallResult, Message, Prepared, Telemetry, ToolCall
from vertebra.schemas.canonical import digest_of, json_text
from vertebra.schemas.errors import BadJson, OutputInvalid, ProviderFailure, VertebraError
from vertebra.schemas.fields import to_json_schema
from vertebra.schemas.graph import Agent, CompiledGraph, Node
from vertebra.schemas.llm import (
    Asked,
    AssistantMessage,
    ModelReply,
    ModelRequest,
    ModelUsage,
    OfferedTool,
    ToolMessage,
    Transcript,
    UserMessage,
)
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.strict_json import check_value

_NOT_SENT = ("rate_limited", "overloaded", "server", "bad_key", "no_credit", "bad_request", "context_too_long")
"""Failures after which the vendor charges nothing."""
MAX_CALLS_BYTES = 1_000_000
"""Of all tool calls of one reply: they stand in history."""
MAX_CALLS = 128
"""Tool calls of one reply: a model that repeats itself must not fill its run, and the worker, with thousands."""
MAX_NAME_CHARS = 500
"""Of the model and the id that a reply names: they stand in history."""
MAX_TOKENS = 10**9
"""More than any model takes; it keeps the cost of one call far below what the books can hold."""
_TOOL_CALLS: TypeAdapter[tuple[ToolCall, ...]] = TypeAdapter(tuple[ToolCall, ...])


async def prepare(given: CallInput, graph: CompiledGraph, node: Node, tenant: str, world: World) -> Prepared:
    """The exact request to the agent's model, and what it may cost at most. No effects, no secrets."""
    agent = graph.agents[node.agent or ""]
    prompt = await world.prompt(tenant, agent.prompt_digest)
    request = await _request(given, graph, agent, prompt, tenant, world)
    price = await world.price(tenant, graph, agent.model)
    most = bound_of(request, price)
    return Prepared(
        kind="llm",
        request=request.canonical,
        digest=request.digest,
        effect="idempotent",
        agent=node.agent,
        prompt_pin=agent.prompt_digest,
        provider=agent.model.provider,
        model=agent.model.model,
        bound_microusd=most.microusd,
        bound_tokens=most.tokens,
        price_digest=digest_of(price.model_dump_json().encode()),
    )


async def perform(prepared: Prepared, graph: CompiledGraph, node: Node, caller: Caller, world: World) -> Performed:
    """Send the request once. Every way in which it can end is a Performed."""
    request = ModelRequest.model_validate_json(prepared.request)
    place = Place(caller.run, caller.node, caller.visit, caller.turn, caller.call_id, caller.attempt)
    try:
        provider = world.providers.get(request.provider)
        secret = provider.secret(request.endpoint)
        key = None if secret is None else world.secret(secret)
    except VertebraError as error:
        return unsent(error, caller)
    began = world.elapsed()
    try:
        reply = await provider.complete(request, place, timeout_s=float(caller.timeout_s), key=key)
    except ProviderFailure as failure:
        return _failed(failure, node, caller, world.ms_since(began))
    return await _read(reply, request, graph, node, caller, world, world.ms_since(began))


async def _request(
    given: CallInput, graph: CompiledGraph, agent: Agent, prompt: Prompt, tenant: str, world: World
) -> ModelRequest:
    said = await _said(given, prompt, tenant, world)
    tools = await _offered(graph, agent, tenant, world)
    return ModelRequest(
        provider=agent.model.provider,
        model=agent.model.model,
        temperature_text=agent.model.temperature_text,
        max_output_tokens=agent.model.max_output_tokens,
        endpoint=agent.model.endpoint,
        system=said.system,
        messages=said.messages,
        tools=tools,
        output_schema_json=json_text(to_json_schema(prompt.output)) if prompt.output else None,
        prompt_pin=agent.prompt_digest,
        tool_pins={name: graph.tools[name] for name in agent.tools},
    )


async def _said(given: CallInput, prompt: Prompt, tenant: str, world: World) -> Transcript:
    """What was said so far: the rendered prompt, or the transcript of the turns before and what the tools answered."""
    if given.transcript is None:
        rendered = render(prompt, given.values)
        return Transcript(system=rendered.system, messages=(UserMessage(text=rendered.user),))
    before = Transcript.model_validate_json(await world.artifacts.get(tenant, given.transcript))
    heard = [await _heard(message, tenant, world) for message in given.messages]
    return before.model_copy(update={"messages": (*before.messages, *heard)})


async def _heard(message: Message, tenant: str, world: World) -> ToolMessage:
    if message.ref is not None:
        text = (await world.artifacts.get(tenant, message.ref.sha256)).decode()
    else:
        text = message.content if isinstance(message.content, str) else json_text(message.content)
    return ToolMessage(tool_call=message.tool_call, text=text, failed=message.failed)


async def _offered(graph: CompiledGraph, agent: Agent, tenant: str, world: World) -> tuple[OfferedTool, ...]:
    """The agent's tools as the graph pins them."""
    if agent.type != "agent":
        return ()
    specs = [await world.tool(tenant, graph.tools[name]) for name in agent.tools]
    return tuple(
        OfferedTool(name=spec.name, description=spec.description, input_schema_json=json_text(spec.input_schema))
        for spec in specs
    )


async def _read(
    reply: ModelReply,
    request: ModelRequest,
    graph: CompiledGraph,
    node: Node,
    caller: Caller,
    world: World,
    duration_ms: int,
) -> Performed:
    """What a paid reply is worth: it is settled in any case, also where it is no success."""
    agent = graph.agents[node.agent or ""]
    price = await world.price(caller.tenant, graph, agent.model)
    reply, problem = _bookable(reply), _problem(reply)
    said = _TOOL_CALLS.dump_json(reply.tool_calls).decode() if reply.tool_calls and problem is None else ""
    cost = settle(reply.usage, price, bound_of(request, price), len((reply.content + said).encode("utf-8", "replace")))
    telemetry = Telemetry(
        tokens_used=cost.tokens,
        prompt_tokens=reply.usage.prompt_tokens,
        completion_tokens=reply.usage.completion_tokens,
        cost_microusd=cost.microusd,
        latency_ms=duration_ms,
        provider=reply.provider,
        model=reply.model,
        finish_reason=reply.finish_reason,
        request_id=reply.request_id,
        estimated=cost.estimated,
    )
    paid = Performed(
        status="done",
        books="settled",
        microusd=cost.microusd,
        tokens=cost.tokens,
        estimated=cost.estimated,
        raw_usage=reply.usage.raw_json.encode(),
        output=reply.content + said,
        duration_ms=duration_ms,
    )
    try:
        if problem is not None:
            raise problem
        return _usable(reply, request, await world.prompt(caller.tenant, agent.prompt_digest), telemetry, paid, caller)
    except (OutputInvalid, BadJson) as invalid:
        return _replaced(paid, caller.error("OutputInvalid", str(invalid), invalid.do))
    except ProviderFailure as failure:
        return _replaced(paid, caller.error(_name(failure), failure.message, failure.do))


def _problem(reply: ModelReply) -> BadJson | None:
    """What of the reply could not be written down: names and ids are the model's words as much as its text is."""
    calls = [{"id": call.id, "tool": call.tool, "arguments": call.arguments} for call in reply.tool_calls]
    try:
        check_value(
            {"content": reply.content, "calls": calls, "model": reply.model, "id": reply.request_id}, at="reply"
        )
        if max(len(reply.model), len(reply.request_id or "")) > MAX_NAME_CHARS:
            raise BadJson(f"the name of its model, or its id, has more than {MAX_NAME_CHARS} characters", at="reply")
        if len(calls) > MAX_CALLS:
            raise BadJson(f"it asks for {len(calls)} tools at once, the limit is {MAX_CALLS}", at="reply.calls")
        size = len(json_text(calls).encode())
        if size > MAX_CALLS_BYTES:
            raise BadJson(f"the tool calls have {size} bytes, the limit is {MAX_CALLS_BYTES}", at="reply.calls")
    except BadJson as problem:
        return problem
    return None


def _bookable(reply: ModelReply) -> ModelReply:
    """The reply with figures that can be booked: a usage that nobody can have had counts as none at all."""
    usage = reply.usage
    figures = (usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning)
    if all(0 <= figure < MAX_TOKENS for figure in figures):
        return reply
    return reply.model_copy(update={"usage": ModelUsage(raw_json=usage.raw_json)})


def _usable(
    reply: ModelReply, request: ModelRequest, prompt: Prompt, telemetry: Telemetry, paid: Performed, caller: Caller
) -> Performed:
    failure = unfinished(reply)
    if failure is not None:
        raise failure
    if reply.tool_calls:
        said = AssistantMessage(text=reply.content, tool_calls=tuple(Asked.of(call) for call in reply.tool_calls))
        transcript = Transcript(system=request.system, messages=(*request.messages, said)).model_dump_json().encode()
        result = CallResult(
            tool_calls=reply.tool_calls,
            transcript=digest_of(transcript).removeprefix("sha256:"),
            telemetry=telemetry,
            attempts=caller.attempt,
        )
        return _replaced(paid, result=result, artifacts=(transcript,))
    value, ref, large = kept(parse_output(prompt, reply.content))
    result = CallResult(result=value, ref=ref, telemetry=telemetry, attempts=caller.attempt)
    return _replaced(paid, result=result, artifacts=large)


def _replaced(
    paid: Performed,
    error: CallError | None = None,
    result: CallResult | None = None,
    artifacts: tuple[bytes, ...] = (),
) -> Performed:
    return Performed(
        status="failed" if error else "done",
        books=paid.books,
        result=result,
        error=error,
        microusd=paid.microusd,
        tokens=paid.tokens,
        estimated=paid.estimated,
        raw_usage=paid.raw_usage,
        output=paid.output,
        duration_ms=paid.duration_ms,
        artifacts=artifacts,
    )


def _failed(failure: ProviderFailure, node: Node, caller: Caller, duration_ms: int) -> Performed:
    """A refused or lost request. What the vendor may have charged for stays held."""
    used_up = failure.counts and caller.counted + 1 >= node.retry.max_attempts
    return Performed(
        status="again" if failure.retryable and not used_up else "failed",
        books="released" if failure.kind in _NOT_SENT else "unknown",
        error=caller.error(_name(failure), failure.message, failure.do),
        counts=failure.counts,
        retry_after_s=failure.retry_after_s,
        duration_ms=duration_ms,
    )


def _name(failure: ProviderFailure) -> str:
    return "Provider" + "".join(part.capitalize() for part in failure.kind.split("_"))
