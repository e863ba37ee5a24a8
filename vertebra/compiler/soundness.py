"""Checks the shape of a graph: reachability, caps on cycles, joins, and writes that could race."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement

from vertebra.compiler.flow import Flow
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.graph import END
from vertebra.schemas.places import Complain


def check_flow(flow: Flow, complain: Complain) -> None:
    """Every node is reached, every cycle ends, every join is entered by its branches."""
    for node in flow.nodes if flow.wiring.is_whole else ():
        if node not in flow.reachable:
            do = "add an edge to it, or take it away"
            complain(("nodes", node), f"no way leads from the start, {flow.start!r}, to node {node!r}", do)
    for cycle in flow.endless:
        if cycle[0] in flow.reachable:
            _check_cycle(flow, cycle, complain)
    if flow.wiring.is_whole and not any(END in flow.wiring.ways[node].targets for node in flow.reachable):
        complain(("edges",), "no way leads to the end", f"add an edge '-> {END}'")
    for node in flow.wiring.joins:
        if node in flow.reachable:
            _check_join(flow, node, complain)


def _check_cycle(flow: Flow, cycle: tuple[str, ...], complain: Complain) -> None:
    ring = " -> ".join((*cycle, cycle[0]))
    capped = [node for node in cycle if node in flow.caps]
    if len(cycle) == 1 and flow.errors.get(cycle[0]) == cycle[0]:
        return  # a node that is its own fallback has a complaint of its own
    if capped:
        message = f"the cap of node {capped[0]!r} ends in its on_error, which leads back into the cycle {ring}"
        complain(("nodes", capped[0]), message, "let on_error lead out of the cycle")
    else:
        do = f"add max_visits to one of its nodes, such as {cycle[0]!r}"
        complain(("nodes", cycle[0]), f"the cycle {ring} has no max_visits", do)


def _check_join(flow: Flow, node: str, complain: Complain) -> None:
    join, path = flow.joins[node], flow.wiring.join_paths[node]
    for source in flow.nodes:
        plain = node in flow.wiring.ways[source].targets and source not in join.sources
        if (plain or flow.errors.get(source) == node) and node not in flow.dominators.get(source, ()):
            message = f"node {node!r} joins branches, but {source!r} also leads into it by another edge"
            complain(path, message, "lead that edge to a node of its own, and join that")
    dead = [source for source in join.sources if source not in flow.reachable]
    if join.fork is None and not dead and _any_parallel(flow, join.sources):
        message = f"the branches that join in {node!r} do not all begin at one fork"
        complain(path, message, "fork them in one node that every way to the join goes through")


def _any_parallel(flow: Flow, nodes: Iterable[str]) -> bool:
    return any(pair in flow.parallel for pair in combinations_with_replacement(nodes, 2) if pair[0] != pair[1])


def check_parallel_writes(graph: AgentGraph, flow: Flow, complain: Complain) -> None:
    """No two nodes that may run at the same time write one `replace` channel: the order would decide."""
    for channel, declared in graph.state.items():
        if declared.reduce != "replace":
            continue
        writers = [name for name, node in graph.nodes.items() if channel in node.write]
        for pair in combinations_with_replacement(writers, 2):
            if pair in flow.racing:
                complain(("nodes", pair[1], "write", channel), _race(channel, *pair), _RACE_ADVICE)


_RACE_ADVICE = "give the channel a reducer (append, merge, sum, max), or write it after the join"


def _race(channel: str, one: str, other: str) -> str:
    if one == other:
        return f"node {one!r} may run beside itself and writes the replace channel {channel!r}"
    return f"nodes {one!r} and {other!r} may run at the same time, and both write the replace channel {channel!r}"
