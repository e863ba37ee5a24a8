"""What follows from the wiring: proved against runs that a small simulator takes at random."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertebra.compiler.flow import Flow
from vertebra.compiler.presence import Presence
from vertebra.compiler.routes import wire
from vertebra.compiler.soundness import check_flow
from vertebra.schemas.authored import AgentGraph, EdgeLine
from vertebra.schemas.graph import END
from vertebra.schemas.places import ComplaintList, Unplaced

NODES = ("a", "b", "c", "d", "e", "f")


def graph(*lines: str, errors: dict[str, str] | None = None, caps: tuple[str, ...] = ()) -> AgentGraph:
    """A graph of rules nodes.

    A line is `a -> b, c`, `a,b => c` (a join), `a,b ~ c` (of any), `a,b % c` (of 2), `a ? b` (a condition) or `a : b`
    (else).
    """
    return build([parse(line) for line in lines], errors or {}, caps)


def parse(line: str) -> EdgeLine:
    for sign in ("->", "=>", "~", "%", "?", ":", "+"):
        left, found, right = line.partition(sign)
        if found:
            sources = tuple(name.strip() for name in left.split(","))
            targets = tuple(name.strip() for name in right.split(","))
            return EdgeLine(
                sources=sources,
                targets=targets,
                join={"=>": "all", "~": "any", "%": "2"}.get(sign),
                when="true" if sign in ("?", "+") else None,
                otherwise=sign == ":",
                parallel=sign == "+",
            )
    raise ValueError(line)


def build(lines: list[EdgeLine], errors: dict[str, str], caps: tuple[str, ...]) -> AgentGraph:
    used = {name for line in lines for name in (*line.sources, *line.targets)} | set(errors) | set(errors.values())
    nodes = {
        name: {"type": "rules", "on_error": errors.get(name), "max_visits": 3 if name in caps else None}
        for name in NODES
        if name in used
    }
    return AgentGraph.model_validate({"graph": "g", "version": "1.0.0", "nodes": nodes, "edges": tuple(lines)})


def flow_of(authored: AgentGraph) -> tuple[Flow, list[str]]:
    complain = ComplaintList(Unplaced("g"))
    flow = Flow(authored.nodes, wire(authored, complain))
    check_flow(flow, complain)
    return flow, [error.message for error in complain.found]


def test_the_start_is_the_node_without_in_edges() -> None:
    """A fallback has an in-edge too, and a loop to itself is none."""
    flow, complaints = flow_of(graph("b ? b", "b : c", "a -> c", errors={"b": "a"}, caps=("b",)))

    assert "b" == flow.start
    assert [] == complaints


def test_in_a_ring_the_first_node_of_the_file_is_the_start() -> None:
    """Where every node has an in-edge, the order of the file decides."""
    flow, _ = flow_of(graph("b -> a", "a ? b", "a : end", caps=("a",)))

    assert "a" == flow.start


def test_a_cycle_needs_a_cap_on_one_node() -> None:
    """One cap on the ring is enough; the cap of another node is not."""
    ring = ("a -> b", "b -> c", "c ? a", "c : end")

    assert [] == flow_of(graph(*ring, caps=("b",)))[1]
    assert ["the cycle a -> b -> c -> a has no max_visits"] == flow_of(graph(*ring))[1]


def test_a_cap_whose_way_out_leads_back_is_none() -> None:
    """At the cap a node takes its on_error; when that stays in the cycle the run would never end."""
    _, complaints = flow_of(graph("a -> b", "b ? a", "b : end", errors={"b": "a"}, caps=("b",)))

    assert 1 == len(complaints)
    assert "leads back into the cycle" in complaints[0]


def test_dominators_are_the_nodes_on_every_way() -> None:
    """After a diamond only its top dominates the bottom."""
    flow, _ = flow_of(graph("a ? b", "a : c", "b -> d", "c -> d"))

    assert {"a", "d"} == flow.dominators["d"]
    assert {"a", "b"} == flow.dominators["b"]


def test_a_join_of_a_fork_names_it_and_everything_before() -> None:
    """The fork is the sources' nearest common dominator; the branches and the fork lie before the join."""
    flow, complaints = flow_of(graph("a -> b", "b -> c, d", "c, d => e"))

    assert ("b", ("b", "c", "d")) == (flow.joins["e"].fork, flow.joins["e"].upstream)
    assert [] == complaints


def test_a_join_of_alternatives_has_no_fork() -> None:
    """Where one of the sources only is reached, nothing is waited for."""
    flow, complaints = flow_of(graph("a ? b", "a : c", "b, c => d"))

    assert None is flow.joins["d"].fork
    assert [] == complaints


@pytest.mark.parametrize(
    ("lines", "pair", "expected"),
    [
        (("a -> b, c", "b, c => d"), ("b", "c"), True),
        (("a -> b, c", "b, c => d"), ("b", "d"), False),
        (("a ? b", "a : c", "b -> d", "c -> d"), ("b", "c"), False),
        (("a -> b, c", "b -> d", "c -> d"), ("d", "d"), True),
        (("a -> b, c, d", "b, c => e", "e, d => f"), ("d", "e"), True),
        (("a -> b, c, d", "b, c => e", "e, d => f"), ("b", "e"), False),
        (("a + b", "a + c", "a : d", "b, c => e"), ("b", "c"), True),
        (("a ? b", "a : c", "b -> d", "d -> e", "c -> e"), ("c", "d"), False),
    ],
)
def test_what_may_run_in_parallel(lines: tuple[str, ...], pair: tuple[str, str], expected: bool) -> None:
    """Branches of one fork run beside each other until they meet; alternatives never do."""
    flow, _ = flow_of(graph(*lines))

    assert expected == (pair in flow.parallel)


def test_a_fan_out_of_200_is_checked_in_time() -> None:
    """Two hundred branches and their join are analysed at once."""
    names = [f"n{number}" for number in range(200)]
    lines = (
        EdgeLine(sources=("a",), targets=tuple(names)),
        EdgeLine(sources=tuple(names), targets=("b",), join="all"),
    )
    nodes = {name: {"type": "rules"} for name in ("a", *names, "b")}
    authored = AgentGraph.model_validate({"graph": "g", "version": "1.0.0", "nodes": nodes, "edges": lines})

    flow, complaints = flow_of(authored)

    assert ("n0", "n199") in flow.parallel
    assert "a" == flow.joins["b"].fork
    assert frozenset(("a", "b", *names)) == Presence(flow, dict.fromkeys(nodes, frozenset())).after("b")
    assert [] == complaints


def test_what_is_sure_after_a_join_of_some() -> None:
    """Of three branches two come: what two of them bring is sure, what one brings is not; of any, nothing is."""
    lines = ("a -> b, c, d", "b, c, d % e")
    gives = {node: frozenset({"state.x"} if node in "bc" else ()) for node in "abcde"}

    assert frozenset({"a", "state.x"}) == Presence(flow_of(graph(*lines))[0], gives).at("e")
    assert frozenset({"a"}) == Presence(flow_of(graph("a -> b, c, d", "b, c, d ~ e"))[0], gives).at("e")


@pytest.mark.parametrize(
    ("lines", "races"),
    [
        (("a -> b, c", "b, c ~ d"), False),
        (("a -> b, c", "b, c % d"), True),
        (("a -> b, c", "b ? e", "b : d", "b, c ~ d"), True),
        (("a -> b, c", "b -> d, e", "c, d, e ~ f"), False),
    ],
)
def test_of_branches_that_end_in_any_one_brings_its_writes(lines: tuple[str, ...], races: bool) -> None:
    """They run beside each other, but their writes never meet, unless one can leave by another way."""
    flow, _ = flow_of(graph(*lines))

    assert ("b", "c") in flow.parallel
    assert races == (("b", "c") in flow.racing)


@dataclass
class Token:
    node: str
    facts: frozenset[str]


@dataclass
class Simulated:
    """One random run: what was there at each visit, and which nodes were live together."""

    seen: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    together: set[tuple[str, str]] = field(default_factory=set)


def simulate(flow: Flow, rng: random.Random, steps: int = 60) -> Simulated:
    run = Simulated()
    live, waiting = [Token(flow.start, frozenset())], dict[str, list[Token]]()
    while steps and (live or waiting):
        steps -= 1
        order = {name: index for index, name in enumerate(flow.nodes)}
        for one in range(len(live)):
            for two in range(one + 1, len(live)):
                pair = sorted((live[one].node, live[two].node), key=order.__getitem__)
                run.together.add((pair[0], pair[1]))
        for join, tokens in list(waiting.items()):
            held = {token.node for other, group in waiting.items() if other != join for token in group}
            others = {token.node for token in live} | {other for other in waiting if other != join and held}
            need, upstream = flow.joins[join].need, set(flow.joins[join].upstream)
            if not others & upstream or (need != "all" and len(tokens) >= need):
                del waiting[join]
                taken = tokens if need == "all" else tokens[:need]
                live.append(Token(join, frozenset[str]().union(*(token.facts for token in taken))))
                if need != "all":
                    live = [token for token in live if token.node not in upstream or token is live[-1]]
                    waiting = {name: group for name, group in waiting.items() if name not in upstream}
                break
        if not live:
            break
        token = live.pop(rng.randrange(len(live)))
        run.seen.append((token.node, token.facts))
        targets, facts = step(flow, token, rng)
        if END in targets:
            return run
        for target in targets:
            if target in flow.joins and token.node in flow.joins[target].sources:
                waiting.setdefault(target, []).append(Token(token.node, facts))
            else:
                live.append(Token(target, facts))
    return run


def step(flow: Flow, token: Token, rng: random.Random) -> tuple[list[str], frozenset[str]]:
    if token.node in flow.errors and rng.random() < 0.3:
        return [flow.errors[token.node]], token.facts
    facts = token.facts | {token.node}
    ways = flow.wiring.ways[token.node]
    if ways.take == "all":
        return list(ways.edges[0].to), facts
    if ways.take == "first":
        return list(rng.choice(ways.edges).to), facts
    taken = [edge for edge in ways.edges if edge.when is not None and rng.random() < 0.5]
    chosen = taken or [edge for edge in ways.edges if edge.otherwise] or list(ways.edges[:1])
    return [target for edge in chosen for target in edge.to], facts


LINE = st.sampled_from(
    [f"{a} -> {b}" for a in NODES for b in (*NODES, END)]
    + [f"{a} -> {b}, {c}" for a in NODES for b in NODES for c in NODES if b < c]
    + [f"{a}, {b} {sign} {c}" for a in NODES for b in NODES for c in NODES if a < b for sign in ("=>", "~", "%")]
    + [f"{a} {sign} {b}" for a in NODES for b in (*NODES, END) for sign in ("?", ":", "+")]
)
SHAPES = (
    ("a -> b, c", "b, c => d"),
    ("a -> b, c", "b ? e", "b : d", "c, d => f", "e -> end"),
    ("a -> b, c", "b -> d, e", "d, e => f"),
    ("a + b", "a + c", "a : d", "b, c, d => e"),
    ("a -> b, c, d", "b, c => e", "e, d => f"),
    ("a -> b, c", "b, c => d", "d ? a", "d : end"),
    ("a -> b, c", "b, c ~ d"),
    ("a -> b, c, d", "b, c, d % e"),
    ("a -> b, c", "b -> d, e", "c, d, e % f"),
    ("a + b", "a + c", "a : d", "b, c, d % e"),
)


@settings(max_examples=300)
@given(
    base=st.sampled_from(((), *SHAPES)),
    more=st.lists(LINE, max_size=5),
    errors=st.dictionaries(st.sampled_from(NODES), st.sampled_from(NODES), max_size=2),
    seed=st.integers(0, 10**6),
)
def test_no_run_lacks_what_is_surely_there(
    base: tuple[str, ...], more: list[str], errors: dict[str, str], seed: int
) -> None:
    """In sound graphs, random runs have every fact that the analysis promises, and only the parallelism it allows."""
    lines = [parse(line) for line in (*base, *more)]
    if not lines:
        return
    authored = build(lines, {one: two for one, two in errors.items() if one != two}, NODES)
    flow, complaints = flow_of(authored)
    if [text for text in complaints if "no way leads" not in text and "cap of node" not in text]:
        return
    presence = Presence(flow, dict.fromkeys(flow.nodes, frozenset()))
    for number in range(20):
        run = simulate(flow, random.Random(seed + number))
        for node, facts in run.seen:
            assert presence.at(node) <= facts, (node, presence.at(node), facts)
        assert run.together <= flow.parallel
