"""From an AgentGraph to the CompiledGraph that runs: every check, all complaints at once, the same bytes anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vertebra.compiler.catalogue import Catalogue, pinned_prices
from vertebra.compiler.conditions import Conditions
from vertebra.compiler.declarations import check_names, lower_state
from vertebra.compiler.fallback import with_fallback
from vertebra.compiler.faults import Faults
from vertebra.compiler.flow import Flow
from vertebra.compiler.guardrails import lower_guardrails
from vertebra.compiler.nodes import (
    build_scope,
    check_keys,
    facts_of,
    kind_of,
    lower_node,
    lower_writes,
    surely_written,
)
from vertebra.compiler.presence import Presence
from vertebra.compiler.routes import Ways, wire
from vertebra.compiler.site import Site
from vertebra.compiler.soundness import check_flow, check_parallel_writes
from vertebra.compiler.spine import lower_agents, lower_spine
from vertebra.compiler.types import Slot
from vertebra.compiler.values import Reader
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.fields import fields_text
from vertebra.schemas.graph import CompiledGraph, Edge, Node, NodeType, Route, Spine, Value

MAX_BYTES = 512 * 1024
"""The compiled graph is in the history of each of its runs."""


def compile_graph(graph: AgentGraph, catalogue: Catalogue) -> CompiledGraph:
    """Check and lower a graph. Pure: the same graph and catalogue give the same bytes. Raises Complaints."""
    return compile_with(graph, catalogue, Faults(graph.places))


def compile_with(graph: AgentGraph, catalogue: Catalogue, faults: Faults) -> CompiledGraph:
    """As `compile_graph`, telling besides what a reader has found already."""
    if not check_names(graph, faults):
        faults.raise_any()
    return _Compilation(with_fallback(graph, faults), catalogue, faults).compiled()


@dataclass(frozen=True)
class _Parts:
    """What the wiring and the types of a graph give."""

    sites: Mapping[str, Site]
    kinds: Mapping[str, NodeType]
    flow: Flow
    presence: Presence
    conditions: Conditions
    written: Mapping[str, Mapping[str, Value]]


class _Compilation:
    def __init__(self, graph: AgentGraph, catalogue: Catalogue, faults: Faults) -> None:
        self._graph = graph
        self._catalogue = catalogue
        self._faults = faults

    def compiled(self) -> CompiledGraph:
        graph, catalogue, faults = self._graph, self._catalogue, self._faults
        spine = lower_spine(graph, catalogue, faults)
        agents = lower_agents(graph, spine, catalogue, faults)
        state = lower_state(graph.state, faults)
        parts = self._parts()
        self._check_budget(spine, parts.kinds)
        guardrails = lower_guardrails(graph, parts.kinds, parts.presence, parts.conditions, faults)
        nodes = {name: self._node(name, parts, spine) for name in parts.kinds}
        routes = {name: self._route(name, ways, parts) for name, ways in parts.flow.wiring.ways.items()}
        output = self._output(parts)
        faults.raise_any()
        compiled = CompiledGraph(
            name=graph.graph,
            version=graph.version,
            principal=None if graph.spine is None else graph.spine.principal,
            input_json=fields_text(graph.input),
            output_json=fields_text({name: field.field for name, field in graph.output.items()}),
            output=output,
            state=state,
            spine=spine,
            agents=agents,
            nodes={name: node.model_copy(update={"facts": facts_of(node, guardrails)}) for name, node in nodes.items()},
            start=parts.flow.start,
            routes=routes,
            joins=parts.flow.joins,
            guardrails=guardrails,
            prompts={agent.prompt: agent.prompt_digest for agent in agents.values()},
            tools={name: catalogue.tools[name].digest for name in spine.tools},
        )
        return self._sized(self._priced(compiled))

    def _parts(self) -> _Parts:
        graph, faults = self._graph, self._faults
        sites = {name: Site(name, node, graph, self._catalogue, faults) for name, node in graph.nodes.items()}
        kinds = {name: kind for name, site in sites.items() if (kind := kind_of(site)) is not None}
        for name, kind in kinds.items():
            check_keys(sites[name], kind)
        wiring = wire(graph, faults)
        flow = Flow(graph.nodes, wiring)
        check_flow(flow, faults)
        check_parallel_writes(graph, flow, faults)
        scope = build_scope(graph, sites, kinds)
        written = lower_writes(graph, sites, scope)
        presence = Presence(flow, surely_written(written))
        return _Parts(sites, kinds, flow, presence, Conditions(scope, faults), written)

    def _node(self, name: str, parts: _Parts, spine: Spine) -> Node:
        node = lower_node(parts.sites[name], parts.kinds[name], parts.flow, parts.presence, parts.conditions, spine)
        return node.model_copy(update={"write": dict(parts.written[name])})

    def _route(self, name: str, ways: Ways, parts: _Parts) -> Route:
        edges = []
        for way in ways.edges:
            when = None
            if way.when is not None:
                when = parts.conditions.compile(way.when, way.path)
                parts.conditions.check_present(when, parts.presence.after(name), way.path, f"through node {name!r}")
            edges.append(Edge(to=way.to, when=when, otherwise=way.otherwise))
        return Route(take=ways.take, edges=tuple(edges))

    def _output(self, parts: _Parts) -> dict[str, Value]:
        reader = Reader("the output", parts.conditions.scope, parts.presence.at_end, False, self._faults)
        found = {}
        for name, output in self._graph.output.items():
            path = ("output", name)
            if output.source is None:
                self._faults(path, f"output {name!r} does not say where it comes from", "add from: state.NAME")
            else:
                found[name] = reader.value(output.source, Slot(output.field, output.field.required), (*path, "from"))
        return found

    def _check_budget(self, spine: Spine, kinds: Mapping[str, NodeType]) -> None:
        if spine.budget is not None:
            return
        spender = next((name for name, kind in kinds.items() if kind in ("llm", "agent")), None)
        if spender is not None:
            do = "add spine.budget: {usd: 0.50, on_breach: pause}"
            self._faults(("nodes", spender), f"node {spender!r} can spend, but the spine has no budget", do)

    def _priced(self, compiled: CompiledGraph) -> CompiledGraph:
        table = pinned_prices(compiled, self._catalogue.prices)
        return compiled.model_copy(update={"prices": table.digest}) if table.prices else compiled

    def _sized(self, compiled: CompiledGraph) -> CompiledGraph:
        size = len(compiled.canonical)
        if size > MAX_BYTES:
            message = f"the compiled graph has {size} bytes, more than {MAX_BYTES}"
            self._faults((), message, "move texts into prompts and literals into tools")
            self._faults.raise_any()
        return compiled
