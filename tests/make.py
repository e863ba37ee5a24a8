"""Builders that hide what does not matter to a test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from vertebra.schemas.canonical import Digest, Json, json_text
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import (
    END,
    Agent,
    Channel,
    CompiledGraph,
    Condition,
    Edge,
    HttpCall,
    Join,
    Model,
    Node,
    Reducer,
    Route,
    Rule,
    Value,
)

_EDGE = re.compile(
    r"^(?P<source>[\w, ]+?) *(?P<arrow>->|=>) *(?P<to>[\w, ]+?)"
    r"(?: when (?P<when>.+)| (?P<other>else)| need (?P<need>\d+))?$"
)
_PATH = re.compile(r"[a-z_]\w*(?:\.\w+)+")
_DIGEST = Digest("sha256:" + "0" * 64)


def value(text: str | Value) -> Value:
    """A path, an optional path (`?a.b`) or a literal (`=1`)."""
    if isinstance(text, Value):
        return text
    if text.startswith("="):
        return Value(json_text=text[1:])
    return Value(path=text.removeprefix("?"), required=not text.startswith("?"))


def values(given: Mapping[str, str | Value] | None) -> dict[str, Value]:
    return {name: value(item) for name, item in (given or {}).items()}


def condition(text: str) -> Condition:
    """A condition that reads every dotted path in its text."""
    return Condition(source=text, text=text, reads=tuple(dict.fromkeys(_PATH.findall(text))))


def llm(name: str, needs: Mapping[str, str | Value] | None = None, **more: Any) -> Node:
    return _node(name, "llm", needs, agent=more.pop("agent", "writer"), **more)


def agent(name: str, needs: Mapping[str, str | Value] | None = None, **more: Any) -> Node:
    return _node(name, "agent", needs, agent=more.pop("agent", "searcher"), **more)


def tool(name: str, needs: Mapping[str, str | Value] | None = None, **more: Any) -> Node:
    return _node(name, "tool", needs, tool=more.pop("tool", "send_email"), effect=more.pop("effect", "keyed"), **more)


def http(name: str, call: HttpCall, needs: Mapping[str, str | Value] | None = None, **more: Any) -> Node:
    return _node(name, "http", needs, http=call, effect=more.pop("effect", "pure"), **more)


def human(name: str, show: Mapping[str, str | Value] | None = None, **more: Any) -> Node:
    return _node(name, "human", show, **more)


def rules(
    name: str,
    *choices: tuple[str, Mapping[str, str | Value]],
    default: Mapping[str, str | Value] | None = None,
    **more: Any,
) -> Node:
    """A rules node of (condition, values) pairs."""
    made = tuple(Rule(when=condition(when), then=values(then)) for when, then in choices)
    return _node(name, "rules", None, rules=made, default=None if default is None else values(default), **more)


def channel(kind: str = "string", reduce: Reducer = "replace", default: Json = None) -> Channel:
    field = Field.model_validate({"type": kind})
    text = field.model_dump_json(exclude_defaults=True)
    return Channel(type_json=text, reduce=reduce, default_json=None if default is None else json_text(default))


def graph(
    nodes: Iterable[Node],
    *edges: str,
    state: Mapping[str, Channel] | None = None,
    output: Mapping[str, str | Value] | None = None,
    max_turns: int = 4,
    **more: Any,
) -> CompiledGraph:
    """A compiled graph from lines: `a -> b`, a fork `a -> b, c`, a join `b, c -> d`, `a -> b when x.y`, `a -> c else`.

    `b, c -> d need 1` is a join of the first branch.

    `=>` instead of `->` takes every true edge of its node. The first node is the start.
    """
    by_id = {node.id: node for node in nodes}
    routes, sources, needs = _routes(by_id, edges)
    model = Model(provider="scripted", model="small")
    agents = {
        "writer": Agent(type="llm", model=model, prompt="p@1", prompt_digest=_DIGEST),
        "searcher": Agent(
            type="agent", model=model, prompt="p@1", prompt_digest=_DIGEST, tools=("search",), max_turns=max_turns
        ),
    }
    return CompiledGraph(
        name=more.pop("name", "made"),
        version="1.0.0",
        input_json="{}",
        output_json="{}",
        output=values(output),
        state=dict(state or {}),
        agents=agents,
        nodes=by_id,
        start=next(iter(by_id)),
        routes=routes,
        joins={name: _join(by_id, routes, name, found, needs.get(name)) for name, found in sources.items()},
        **more,
    )


def _node(name: str, kind: str, given: Mapping[str, str | Value] | None, **more: Any) -> Node:
    written = values(more.pop("write", None))
    return Node(id=name, type=kind, values=values(given), write=written, **more)


def _routes(
    nodes: Mapping[str, Node], edges: Iterable[str]
) -> tuple[dict[str, Route], dict[str, tuple[str, ...]], dict[str, int]]:
    found: dict[str, list[tuple[str, Edge]]] = {name: [] for name in nodes}
    joins: dict[str, tuple[str, ...]] = {}
    needs: dict[str, int] = {}
    for line in edges:
        match = _EDGE.match(line)
        assert match is not None, line
        sources, targets = _names(match["source"]), _names(match["to"])
        if len(sources) > 1:
            joins[targets[0]] = sources
        if match["need"]:
            needs[targets[0]] = int(match["need"])
        when = condition(match["when"]) if match["when"] else None
        for source in sources:
            found[source].append((match["arrow"], Edge(to=targets, when=when, otherwise=bool(match["other"]))))
    return {name: _route(lines) for name, lines in found.items()}, joins, needs


def _route(lines: list[tuple[str, Edge]]) -> Route:
    edges = tuple(edge for _, edge in lines) or (Edge(to=(END,)),)
    if any(arrow == "=>" for arrow, _ in lines):
        return Route(take="every", edges=edges)
    plain = len(edges) == 1 and edges[0].when is None
    return Route(take="all" if plain else "first", edges=edges)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _next(nodes: Mapping[str, Node], routes: Mapping[str, Route], node: str) -> list[str]:
    targets = list(chain.from_iterable(edge.to for edge in routes[node].edges))
    fallback = nodes[node].on_error
    return [target for target in targets if target != END] + ([fallback] if fallback else [])


def _reach(nodes: Mapping[str, Node], routes: Mapping[str, Route], start: str, without: Iterable[str]) -> set[str]:
    """The nodes on ways from `start` on that do not go on from a node of `without`."""
    seen, todo, stops = {start}, [start], set(without)
    while todo:
        here = todo.pop()
        if here in stops and here != start:
            continue
        fresh = [target for target in _next(nodes, routes, here) if target not in seen]
        seen.update(fresh)
        todo.extend(fresh)
    return seen


def _dominators(nodes: Mapping[str, Node], routes: Mapping[str, Route], node: str) -> list[str]:
    start = next(iter(nodes))
    every = _reach(nodes, routes, start, ())
    if node == start:
        return [start]
    return [other for other in every if other in (start, node) or node not in _without(nodes, routes, start, other)]


def _without(nodes: Mapping[str, Node], routes: Mapping[str, Route], start: str, gone: str) -> set[str]:
    return _reach(nodes, routes, start, (gone,)) - {gone}


def _join(
    nodes: Mapping[str, Node], routes: Mapping[str, Route], name: str, sources: tuple[str, ...], need: int | None
) -> Join:
    shared = [set(_dominators(nodes, routes, source)) for source in sources]
    common = set.intersection(*shared)
    fork = max(common, key=lambda node: len(_dominators(nodes, routes, node)))
    upstream = [node for node in nodes if node != name and name in _reach(nodes, routes, node, (fork, name))]
    return Join(sources=sources, need=need or "all", fork=fork, upstream=tuple(upstream))
