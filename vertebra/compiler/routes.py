"""Lowers edge lines to one route per node: a plain edge, a fork, a chain of conditions, or a group of all true ones.

Conditions stay text here; they are compiled when the types of all results are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vertebra.policies.fields import nearest
from vertebra.schemas.authored import AgentGraph, AuthoredNode, EdgeLine
from vertebra.schemas.graph import END
from vertebra.schemas.places import Complain, Path

Take = Literal["all", "first", "every", "named"]
Need = Literal["all"] | int


@dataclass(frozen=True)
class Way:
    """One edge out of a node, with its condition as text."""

    to: tuple[str, ...]
    when: str | None
    otherwise: bool
    path: Path


@dataclass(frozen=True)
class Ways:
    """All edges out of one node."""

    take: Take
    edges: tuple[Way, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(target for edge in self.edges for target in edge.to))


@dataclass(frozen=True)
class Wiring:
    """The edges of a graph by node, and which nodes are joins of which sources."""

    ways: Mapping[str, Ways]
    joins: Mapping[str, tuple[str, ...]]
    needs: Mapping[str, Need]
    """How many branches each join waits for."""
    join_paths: Mapping[str, Path]
    is_whole: bool
    """Whether every line could be used; else what seems to be unreachable may not be."""


def wire(graph: AgentGraph, complain: Complain) -> Wiring:
    """The wiring of a graph; what makes no sense is complained about and left out."""
    lines = [line for line in graph.edges if _is_sound(line, graph.nodes, complain)]
    joins: dict[str, tuple[str, ...]] = {}
    needs: dict[str, Need] = {}
    paths: dict[str, Path] = {}
    for line in lines:
        if line.join is None:
            continue
        if line.targets[0] in joins:
            complain(_path(line), f"node {line.targets[0]!r} is joined twice", "write all its sources on one line")
        else:
            joins[line.targets[0]] = _in_order(line.sources, graph.nodes)
            needs[line.targets[0]] = _need(line.join)
            paths[line.targets[0]] = _path(line)
    ways = {
        name: _named(name, graph, [line for line in lines if name in line.sources], complain)
        if node.type == "router"
        else _ways(name, [line for line in lines if name in line.sources], complain)
        for name, node in graph.nodes.items()
    }
    return Wiring(ways, joins, needs, paths, is_whole=len(lines) == len(graph.edges))


def _need(join: str) -> Need:
    """How many branches a join waits for; its line is sound."""
    return "all" if join == "all" else 1 if join == "any" else int(join)


def _in_order(names: tuple[str, ...], nodes: Mapping[str, AuthoredNode]) -> tuple[str, ...]:
    return tuple(node for node in nodes if node in names)


def _path(line: EdgeLine) -> Path:
    return ("edges", line.index)


def _is_sound(line: EdgeLine, nodes: Mapping[str, AuthoredNode], complain: Complain) -> bool:
    faults = list(_faults(line, nodes))
    for message, do in faults:
        complain(_path(line), message, do)
    return not faults


def _faults(line: EdgeLine, nodes: Mapping[str, AuthoredNode]) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for name in dict.fromkeys((*line.sources, *line.targets)):
        if name == END:
            continue
        if name not in nodes:
            found.append((f"an edge names unknown node {name!r}", nearest(name, (*nodes, END))))
    if END in line.sources:
        found.append((f"nothing comes after {END!r}", "turn the edge round"))
    if END in line.targets and len(line.targets) > 1:
        found.append((f"{END!r} stands beside other targets, but it ends the run", f"write '-> {END}' alone"))
    if len(set(line.targets)) < len(line.targets) or len(set(line.sources)) < len(line.sources):
        found.append(("a node stands twice on one side of an edge", "name it once"))
    if line.when is not None and line.otherwise:
        found.append(("an edge has both when and else", "keep one"))
    found.extend(_join_faults(line))
    return found


def _join_faults(line: EdgeLine) -> list[tuple[str, str | None]]:
    if line.join is None:
        if len(line.sources) < 2:
            return []
        return [("an edge from several nodes does not say how they join", "add {join: all}, or write a line for each")]
    found: list[tuple[str, str | None]] = []
    if line.join not in ("all", "any") and not _is_count(line.join, len(line.sources)):
        found.append(
            (f"'join: {line.join}' is none", f"a join takes all, any, or a number from 1 to {len(line.sources)}")
        )
    if len(line.sources) < 2:
        found.append(("a join needs at least two sources", "name them all on this line: 'b, c -> d: {join: all}'"))
    if line.targets == (END,):
        do = f"join them in a node, such as a rules node, and let it go to {END}"
        found.append((f"branches cannot join in {END!r}", do))
    elif len(line.targets) > 1:
        found.append(("a join has one target", "join in one node, and fork after it"))
    if line.when is not None or line.otherwise or line.parallel:
        do = "put the condition on an edge before the source, or after the join"
        found.append(("a join line has conditions", do))
    return found


def _is_count(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= most and text == str(int(text))


def _ways(node: str, lines: list[EdgeLine], complain: Complain) -> Ways:
    edges = tuple(Way(line.targets, line.when, line.otherwise, _path(line)) for line in lines)
    if not lines:
        return Ways("all", (Way((END,), None, False, ("nodes", node)),))
    if any(line.parallel for line in lines):
        _check_group(node, lines, complain)
        return Ways("every", tuple(sorted(edges, key=lambda edge: edge.otherwise)))
    if all(edge.when is None and not edge.otherwise for edge in edges):
        if len(edges) > 1:
            do = f"write '{node} -> {', '.join(target for edge in edges for target in edge.to)}', or give conditions"
            complain(edges[1].path, f"node {node!r} has several plain edges", do)
        return Ways("all", edges)
    _check_chain(node, edges, complain)
    return Ways("first", edges)


def _named(name: str, graph: AgentGraph, lines: list[EdgeLine], complain: Complain) -> Ways:
    """The edges of a router: its routes, or the plain edges of which its function names one."""
    node = graph.nodes[name]
    if node.function is None:
        if lines:
            complain(_path(lines[0]), f"the routes of router {name!r} are its edges", "take the edge away")
        place: Path = ("nodes", name, "routes")
        # a target that is no node is complained about where the router is lowered
        known = (target for target in (node.routes or {}).values() if target == END or target in graph.nodes)
        targets = dict.fromkeys(known)
        return Ways("named", tuple(Way((target,), None, False, place) for target in targets))
    if not lines:
        do = f"write a line '{name} -> NODE' for each node that it may choose"
        complain(("nodes", name), f"router {name!r} has no edges", do)
    if any(line.when is not None for line in lines):
        return _ways(name, lines, complain)  # its answer is translated: `route.next == 'yes'`
    for line in lines:
        if len(line.targets) > 1 or line.otherwise or line.parallel or line.join is not None:
            do = f"write a plain line '{name} -> NODE' for each node that it may choose"
            complain(_path(line), f"an edge of router {name!r} is not plain", do)
    return Ways("named", tuple(Way(line.targets[:1], None, False, _path(line)) for line in lines))


def _check_group(node: str, lines: list[EdgeLine], complain: Complain) -> None:
    for line in lines:
        if not line.parallel and not line.otherwise:
            do = "add parallel: true to each of its edges, or to none"
            complain(_path(line), f"only some edges of node {node!r} are parallel", do)
    _check_else(node, [line.otherwise for line in lines], [_path(line) for line in lines], complain, last=False)
    bare = any(line.when is None and not line.otherwise for line in lines)
    if not bare and not any(line.otherwise for line in lines):
        _nothing_may_match(node, _path(lines[-1]), complain)
    targets = [target for line in lines for target in line.targets]
    if len(set(targets)) < len(targets):
        message = f"two parallel edges of node {node!r} lead to one node"
        complain(_path(lines[0]), message, "join their conditions by ||")


def _check_chain(node: str, edges: tuple[Way, ...], complain: Complain) -> None:
    for edge in edges:
        if edge.when is None and not edge.otherwise:
            complain(edge.path, f"a plain edge stands among conditions of node {node!r}", "write {else: true} on it")
            return
    _check_else(node, [edge.otherwise for edge in edges], [edge.path for edge in edges], complain, last=True)
    if not any(edge.otherwise for edge in edges):
        _nothing_may_match(node, edges[-1].path, complain)
    elif len(edges) == 1:
        do = "take {else: true} away, or add conditions"
        complain(edges[0].path, f"node {node!r} has an else without a when", do)


def _check_else(node: str, marks: list[bool], paths: list[Path], complain: Complain, *, last: bool) -> None:
    if sum(marks) > 1:
        second = [path for path, mark in zip(paths, marks, strict=True) if mark][1]
        complain(second, f"node {node!r} has two else edges", "keep one")
    elif last and any(marks) and not marks[-1]:
        message = f"the else edge of node {node!r} is not the last"
        complain(paths[marks.index(True)], message, "put it below the conditions")


def _nothing_may_match(node: str, path: Path, complain: Complain) -> None:
    do = f"add '{node} -> NODE: {{else: true}}', or '-> {END}: {{else: true}}'"
    complain(path, f"none of the conditions of node {node!r} may be true, and it has no else", do)
