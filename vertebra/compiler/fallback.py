"""Lowers the graph's own `on_error` to its nodes: what is written once is as if each node that may fail said it."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.compiler.flow import Flow
from vertebra.compiler.routes import wire
from vertebra.policies.fields import nearest
from vertebra.schemas.authored import AgentGraph, AuthoredNode
from vertebra.schemas.places import Complain, Path


def with_fallback(graph: AgentGraph, complain: Complain) -> AgentGraph:
    """The graph with its default written on each node that takes it.

    The fallback itself and what only it leads to are left out: they would lead back to it.
    """
    name = graph.on_error
    if name is None:
        return graph
    if name not in graph.nodes:
        complain(("on_error",), f"on_error of the graph names unknown node {name!r}", _node_like(name, graph))
        return graph
    willing = {node: written for node, written in graph.nodes.items() if node != name and _takes(written)}
    ahead = _ahead(graph, name, willing)
    taking = {node: _said(written, name) for node, written in willing.items() if node in ahead}
    if not taking:
        do = "name a node beside the normal ways, or take it away where every node says on_error or optional itself"
        complain(("on_error",), f"no node takes the graph's on_error {name!r}", do)
    return graph.model_copy(update={"nodes": {**graph.nodes, **taking}})


def _node_like(name: str, graph: AgentGraph) -> str:
    return nearest(name, graph.nodes) or "name a node"


def _takes(node: AuthoredNode) -> bool:
    return node.on_error is None and not node.optional and _may_fail(node)


def _may_fail(node: AuthoredNode) -> bool:
    """Whether the engine may fail the node: what can only wait for a person, or end well, takes no other way."""
    if node.max_visits is not None:
        return True
    match node.type:
        case "rules":
            return bool(node.rules)
        case "router":
            return node.function is not None
        case "wait":
            return node.until is not None or node.expires_in is not None
        case _:
            return True


def _ahead(graph: AgentGraph, name: str, willing: Mapping[str, AuthoredNode]) -> frozenset[str]:
    """The nodes that are reached without the fallback, from where the graph with its default begins."""
    wiring = wire(graph, _unheard)
    start = Flow({**graph.nodes, **{node: _said(written, name) for node, written in willing.items()}}, wiring).start
    return Flow(graph.nodes, wiring).reach(start, frozenset((name,)))


def _said(node: AuthoredNode, name: str) -> AuthoredNode:
    return node.model_copy(update={"on_error": name})


def _unheard(path: Path, message: str, do: str | None = None, /) -> None:
    """Mistakes of the edges are told where the graph itself is wired."""
