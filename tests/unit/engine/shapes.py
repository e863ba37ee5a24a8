"""Random structured graphs: blocks with one way in and one way out, put together until they are a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.make import agent, channel, condition, graph, human, llm, rules, tool
from vertebra.schemas.graph import END, Channel, CompiledGraph, Edge, Node, Route, Value

CHANNELS: dict[str, Channel] = {
    "log": channel("list", "append"),
    "total": channel("float", "sum", 0.0),
    "best": channel("integer", "max"),
    "seen": channel("dict", "merge"),
    "last": channel("string"),
}
FIELDS = {"log": "text", "total": "n", "best": "i", "seen": "map", "last": "text"}
KINDS = ("llm", "tool", "agent", "rules", "choice", "human")


@dataclass
class Builder:
    """Nodes and edges so far."""

    draw: st.DrawFn
    nodes: list[Node] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    races: bool = False
    """Joins may wait for fewer than all of their branches."""

    def name(self, kind: str) -> str:
        return f"{kind}_{len(self.nodes)}"

    def add(self, node: Node) -> str:
        self.nodes.append(node)
        return node.id

    def reads(self) -> dict[str, Value]:
        """A few values that may be there: results so far, channels, the last error."""
        paths = ["input.x", "error.type", *(f"state.{name}" for name in CHANNELS)]
        paths += [f"{node.id}.{self.draw(st.sampled_from(['n', 'text', 'map.k0']))}" for node in self.nodes]
        chosen = self.draw(st.lists(st.sampled_from(paths), max_size=3, unique=True))
        return {f"v{index}": Value(path=path, required=False) for index, path in enumerate(chosen)}

    def condition(self, node: str) -> str:
        return f"{node}.i > 3 && state.total < 9.{self.draw(st.integers(0, 9))}"

    def step(self, fallback: str | None = None, kinds: tuple[str, ...] = KINDS, cap: int | None = None) -> str:
        """One node of any type, which writes some channels."""
        kind = self.draw(st.sampled_from(kinds))
        name = self.name(kind)
        writes = self.draw(st.lists(st.sampled_from(sorted(CHANNELS)), max_size=3, unique=True))
        more: dict[str, object] = {"on_error": fallback, "max_visits": cap}
        if kind == "human":
            return self.add(human(name, self.reads(), write={"last": "decision"} if writes else {}, **more))
        more["write"] = {one: FIELDS[one] for one in writes}
        if kind in ("rules", "choice"):
            then = {"n": "=0.5", "i": "=7", "text": '="r"', "map": '={"k0":1}'}
            when = [(self.condition("input"), then)] if kind == "choice" else []
            return self.add(rules(name, *when, default={**then, "i": "=2"}, **more))
        make = {"llm": llm, "tool": tool, "agent": agent}[kind]
        return self.add(make(name, self.reads(), **more))

    def merge(self) -> str:
        return self.add(rules(self.name("merge"), default={"text": '="m"', "i": "=1"}))

    def edge(self, text: str) -> None:
        self.edges.append(text)

    def join(self, sources: Sequence[str], bottom: str) -> None:
        need = f" need {self.draw(st.integers(1, len(sources)))}" if self.races and self.draw(st.booleans()) else ""
        self.edge(f"{', '.join(sources)} -> {bottom}{need}")

    def block(self, depth: int) -> tuple[str, str]:
        """A block's first and last node; the last one has no edges yet."""
        shapes = [self.single] if depth == 0 else [self.single, self.pair, self.fork, self.choice, self.every]
        if depth > 0:
            shapes += [self.loop, self.guarded, self.ladder, self.fan]
        shape = self.draw(st.sampled_from(shapes))
        return shape(depth - 1)

    def single(self, depth: int) -> tuple[str, str]:
        name = self.step()
        return name, name

    def pair(self, depth: int) -> tuple[str, str]:
        first, out = self.block(depth)
        into, last = self.block(depth)
        self.edge(f"{out} -> {into}")
        return first, last

    def fork(self, depth: int) -> tuple[str, str]:
        top, blocks = self.step(), [self.block(depth) for _ in range(self.draw(st.integers(2, 3)))]
        bottom = self.step()
        self.edge(f"{top} -> {', '.join(first for first, _ in blocks)}")
        self.join([last for _, last in blocks], bottom)
        return top, bottom

    def every(self, depth: int) -> tuple[str, str]:
        """All true edges are taken, then joined; over one branch the join is a plain step."""
        top, blocks = self.step(), [self.block(depth) for _ in range(3)]
        bottom = self.step()
        for (first, _), tail in zip(blocks, (" when ", " when ", " else"), strict=True):
            self.edge(f"{top} => {first}{tail}" + (self.condition(top) if tail == " when " else ""))
        self.join([last for _, last in blocks], bottom)
        return top, bottom

    def choice(self, depth: int) -> tuple[str, str]:
        top, left, right = self.step(), self.block(depth), self.block(depth)
        bottom = self.merge()
        self.edge(f"{top} -> {left[0]} when {self.condition(top)}")
        self.edge(f"{top} -> {right[0]} else")
        for _, last in (left, right):
            self.edge(f"{last} -> {bottom}")
        return top, bottom

    def loop(self, depth: int) -> tuple[str, str]:
        top = self.step(cap=self.draw(st.integers(1, 3)))
        first, last = self.block(depth)
        tail, out = self.step(), self.merge()
        self.edge(f"{top} -> {first}")
        self.edge(f"{last} -> {tail}")
        self.edge(f"{tail} -> {top} when {self.condition(tail)}")
        self.edge(f"{tail} -> {out} else")
        return top, out

    def guarded(self, depth: int) -> tuple[str, str]:
        fallback, out = self.step(kinds=("llm", "rules")), self.merge()
        top = self.step(fallback=fallback, kinds=("llm", "tool", "agent", "human"))
        self.edge(f"{top} -> {out}")
        self.edge(f"{fallback} -> {out}")
        return top, out

    def ladder(self, depth: int) -> tuple[str, str]:
        """A join of some branches of a fork, whose branch then joins the others."""
        top, blocks = self.step(), [self.block(depth) for _ in range(3)]
        middle, bottom = self.step(), self.step()
        self.edge(f"{top} -> {', '.join(first for first, _ in blocks)}")
        self.join([blocks[0][1], blocks[1][1]], middle)
        self.join([middle, blocks[2][1]], bottom)
        return top, bottom

    def fan(self, depth: int) -> tuple[str, str]:
        """A fork inside a branch of a fork, all joined at once."""
        top, inner, blocks = self.step(), self.step(), [self.block(depth) for _ in range(3)]
        bottom = self.step()
        self.edge(f"{top} -> {inner}, {blocks[0][0]}")
        self.edge(f"{inner} -> {blocks[1][0]}, {blocks[2][0]}")
        self.join([last for _, last in blocks], bottom)
        return top, bottom


@st.composite
def graphs(draw: st.DrawFn, depth: int = 2, races: bool = False) -> CompiledGraph:
    """A graph without early finals, whose output is everything there is."""
    builder = Builder(draw, races=races)
    top = builder.add(rules("start", default={"i": "=1"}))
    first, last = builder.block(depth)
    builder.edge(f"{top} -> {first}")
    builder.edge(f"{last} -> end")
    outputs = {f"r_{node.id}": f"?{node.id}" for node in builder.nodes}
    return graph(builder.nodes, *builder.edges, state=CHANNELS, output={**outputs, "state": "state"})


@st.composite
def early_finals(draw: st.DrawFn, made: CompiledGraph) -> CompiledGraph:
    """The graph, with a conditional way to the end beside some of its plain edges."""
    plain = [name for name, route in sorted(made.routes.items()) if route.take == "all" and route.edges[0].to != (END,)]
    routes = dict(made.routes)
    for name in draw(st.lists(st.sampled_from(plain), min_size=1, max_size=2, unique=True)):
        out = Edge(to=(END,), when=condition(f"{name}.i > 1"))
        onward = Edge(to=made.routes[name].edges[0].to, otherwise=True)
        routes[name] = Route(take="first", edges=(out, onward))
    return made.model_copy(update={"routes": routes})
