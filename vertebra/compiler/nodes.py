"""Lowers nodes: which kind each is, what its result holds, what it reads and writes, and the facts its calls carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from vertebra.compiler.conditions import Conditions
from vertebra.compiler.flow import Flow
from vertebra.compiler.kinds import KINDS, LATER
from vertebra.compiler.limits import with_limits
from vertebra.compiler.presence import Facts, Presence
from vertebra.compiler.scope import Scope
from vertebra.compiler.site import Site
from vertebra.compiler.spine import check_tools
from vertebra.compiler.types import Shape, shape
from vertebra.compiler.values import Reader, writes
from vertebra.policies.fields import nearest
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.graph import Guardrail, Node, NodeType, Spine, Value

COMMON_KEYS = frozenset({"type", "write", "on_error", "optional", "max_visits"})


def kind_of(site: Site) -> NodeType | None:
    """The type of a node, its own or its agent's; None after complaining."""
    written, agent = site.node.type, site.agent
    if site.node.agent is not None and agent is None:
        do = nearest(site.node.agent, site.graph.agents) or "declare it in agents"
        site.tell("agent", f"node {site.id!r} uses unknown agent {site.node.agent!r}", do)
        return None
    if agent is not None and written not in (None, agent.type):
        site.tell("type", f"node {site.id!r} has type {written!r}, its agent has {agent.type!r}", "take type away")
        return None
    name = agent.type if agent is not None else written
    if name is None:
        do = f"add agent: NAME, or type: {' | '.join(KINDS)}"
        site.tell(None, f"node {site.id!r} has neither agent nor type", do)
    elif name in LATER:
        site.tell("type", f"node type {name!r} is not in this version", f"there are: {', '.join(KINDS)}")
    elif name not in KINDS:
        site.tell("type", f"node {site.id!r} has unknown type {name!r}", nearest(name, KINDS))
    elif name in ("llm", "agent") and agent is None:
        site.tell("type", f"node {site.id!r} of type {name} names no agent", "declare an agent and write agent: NAME")
    else:
        return cast("NodeType", name)
    return None


def check_keys(site: Site, kind: NodeType) -> None:
    """Complain about keys that nodes of this type do not have."""
    allowed = KINDS[kind].keys | COMMON_KEYS
    for key in sorted(site.node.written - allowed):
        site.tell(key, f"node {site.id!r} is of type {kind}, which has no key {key!r}", nearest(key, allowed))


def build_scope(graph: AgentGraph, sites: Mapping[str, Site], kinds: Mapping[str, NodeType]) -> Scope:
    """The types of everything. Results of rules depend on other results, so they are settled in rounds."""
    state = shape({name: channel.field for name, channel in graph.state.items()})
    scope = Scope(shape(graph.input), state, {name: {} for name in kinds}, opaque=frozenset(set(sites) - set(kinds)))
    for _ in range(len(kinds) + 1):
        found = {name: KINDS[kind].result(sites[name], scope) for name, kind in kinds.items()}
        results: dict[str, Shape] = {name: result for name, result in found.items() if result is not None}
        opaque = frozenset(set(sites) - set(results))
        new = replace(scope, results=results | {name: {} for name in opaque}, opaque=opaque)
        if new == scope:
            break
        scope = new
    return scope


def lower_writes(graph: AgentGraph, sites: Mapping[str, Site], scope: Scope) -> dict[str, dict[str, Value]]:
    """What each node writes."""
    return {
        name: writes(
            site.node.write,
            None if name in scope.opaque else scope.results[name],
            graph.state,
            (*site.path, "write"),
            site.complain,
        )
        for name, site in sites.items()
    }


def surely_written(written: Mapping[str, dict[str, Value]]) -> dict[str, Facts]:
    """The channels that each node's success surely writes, as facts."""
    return {
        node: frozenset(f"state.{name}" for name, value in values.items() if value.path is None or value.required)
        for node, values in written.items()
    }


def lower_node(
    site: Site, kind: NodeType, flow: Flow, presence: Presence, conditions: Conditions, spine: Spine
) -> Node:
    """One node with its values, approval and limits; `write` and `facts` come from the caller."""
    present = presence.at(site.id)
    reader = Reader(f"node {site.id!r}", conditions.scope, present, flow.fallback_only(site.id), site.complain)
    node = with_limits(KINDS[kind].lower(site, reader, conditions), site)
    if node.approval is not None and node.approval.when is not None:
        place = (*site.path, "approval", "when")
        conditions.check_present(node.approval.when, present, place, f"to node {site.id!r}")
    if site.node.tool is not None and site.tool is not None:
        check_tools((site.node.tool,), spine, site.catalogue, (*site.path, "tool"), f"node {site.id!r}", site.complain)
    if site.node.optional and site.node.on_error is not None:
        do = "keep on_error to go another way, or optional to go on without a result"
        site.tell("optional", f"node {site.id!r} has both optional and on_error", do)
    return node.model_copy(update={"on_error": _fallback(site), "optional": site.node.optional})


def _fallback(site: Site) -> str | None:
    name = site.node.on_error
    if name is None:
        return None
    if name == site.id:
        site.tell("on_error", f"node {site.id!r} is its own fallback", "use retry: {max_attempts: ...}")
    elif name not in site.graph.nodes:
        do = nearest(name, site.graph.nodes) or "name a node"
        site.tell("on_error", f"on_error of node {site.id!r} names unknown node {name!r}", do)
    return name


def facts_of(node: Node, guardrails: tuple[Guardrail, ...]) -> tuple[str, ...]:
    """What a node's calls must carry for its approval and guardrails; its own new result the gate has itself."""
    reads: set[str] = set()
    if node.approval is not None and node.approval.when is not None:
        reads.update(read for read in node.approval.when.reads if read not in ("tool", "args"))
    for guardrail in guardrails:
        if guardrail.on in ("*", node.id):
            own = f"{node.id}." if guardrail.at == "after" else None
            reads.update(read for read in guardrail.when.reads if own is None or not read.startswith(own))
    return tuple(sorted(reads))
