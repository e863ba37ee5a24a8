"""The second form of a graph: tasks do, plans decide, and they alternate; as lines, as Mermaid and as JSON.

Every choice of edges is a plan: rules where there are conditions, else one that passes its task's result on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import END, CompiledGraph, Edge, Node, Route


@dataclass(frozen=True)
class Plan:
    """What decides after one task."""

    after: str
    kind: str
    """`pass`, `fork`, `rules` (the first that is true), `group` (all that are true) or `router` (the one it names)."""
    ways: tuple[tuple[str | None, tuple[str, ...]], ...]
    """Label and targets of each way."""
    on_error: str | None


def plans(graph: CompiledGraph) -> list[Plan]:
    """One plan for each task, in the order of the file."""
    return [
        Plan(name, _kind(graph.routes[name]), _ways(node, graph.routes[name]), node.on_error)
        for name, node in graph.nodes.items()
    ]


def as_lines(graph: CompiledGraph) -> str:
    """Both kinds of steps, each plan between its task and the tasks that it may choose."""
    lines = []
    for plan in plans(graph):
        lines.append(f"task  {plan.after} ({graph.nodes[plan.after].type}{_join(graph, plan.after)})")
        for index, (label, targets) in enumerate(plan.ways):
            head = f"  plan  {plan.kind:<5}" if index == 0 else " " * 13
            lines.append(f"{head} -> {' + '.join(targets)}{f'  {label}' if label else ''}")
        if plan.on_error:
            lines.append(f"{'':13} -> {plan.on_error}  on error")
    return "\n".join(lines)


def as_mermaid(graph: CompiledGraph) -> str:
    """A flowchart: tasks are boxes, plans are diamonds."""
    lines = ["flowchart TD"]
    for plan in plans(graph):
        task, decision = f"t_{plan.after}", f"p_{plan.after}"
        lines.append(f'  {task}["{plan.after}<br/>{graph.nodes[plan.after].type}{_join(graph, plan.after)}"]')
        lines += [f'  {decision}{{"{plan.kind}"}}', f"  {task} --> {decision}"]
        for label, targets in plan.ways:
            arrow = f'-- "{_safe(label)}" -->' if label else "-->"
            lines += [f"  {decision} {arrow} {_target(target)}" for target in targets]
        if plan.on_error:
            lines.append(f'  {task} -. "on error" .-> {_target(plan.on_error)}')
    return "\n".join([*lines, '  t_end(["end"])'])


def as_json(graph: CompiledGraph) -> Json:
    """The same for programs."""
    return [
        {
            "task": plan.after,
            "type": graph.nodes[plan.after].type,
            "plan": plan.kind,
            "next": [{"when": label, "to": list(targets)} for label, targets in plan.ways],
            "on_error": plan.on_error,
        }
        for plan in plans(graph)
    ]


def written(graph: CompiledGraph) -> str:
    """The edges as their author writes them. The routes of a router are its edges, and stand in the node."""
    lines = []
    for name, route in graph.routes.items():
        if _routes(graph.nodes[name]):
            continue
        for edge in route.edges:
            targets = [target for target in edge.to if target not in graph.joins or name not in _sources(graph, target)]
            if targets:
                lines.append(f"{name} -> {', '.join(targets)}{_options(route, edge)}")
    for target, join in graph.joins.items():
        need = "any" if join.need == 1 else join.need
        lines.append(f"{', '.join(join.sources)} -> {target}: {{join: {need}}}")
    return "\n".join(lines)


def _sources(graph: CompiledGraph, target: str) -> tuple[str, ...]:
    return graph.joins[target].sources


def _options(route: Route, edge: Edge) -> str:
    when = None if edge.when is None else f'when: "{edge.when.text}"'
    options = [when, "else: true" if edge.otherwise else None]
    options.append("parallel: true" if route.take == "every" and not edge.otherwise else None)
    found = ", ".join(option for option in options if option)
    return f": {{{found}}}" if found else ""


def _kind(route: Route) -> str:
    if route.take == "first":
        return "rules"
    if route.take == "every":
        return "group"
    if route.take == "named":
        return "router"
    return "fork" if sum(len(edge.to) for edge in route.edges) > 1 else "pass"


def _ways(node: Node, route: Route) -> tuple[tuple[str | None, tuple[str, ...]], ...]:
    return tuple((_label(node, edge), edge.to) for edge in route.edges)


def _routes(node: Node) -> dict[str, str]:
    return node.router.routes if node.router is not None else {}


def _label(node: Node, edge: Edge) -> str | None:
    values = [value for value, target in _routes(node).items() if (target,) == edge.to]
    if values:
        return ", ".join(values)
    return edge.when.text if edge.when else "else" if edge.otherwise else None


def _join(graph: CompiledGraph, name: str) -> str:
    join = graph.joins.get(name)
    return "" if join is None else f", joins {'any' if join.need == 1 else join.need} of {', '.join(join.sources)}"


def _target(name: str) -> str:
    return f"t_{END}" if name == END else f"t_{name}"


def _safe(text: str) -> str:
    """Text inside a label: Mermaid ends it at a quote, and reads HTML in it."""
    return re.sub(r'["<>&#;]', lambda found: f"#{ord(found.group())};", " ".join(text.split()))
