"""What follows from the wiring alone: start, reachability, cycles, dominators, joins, and what may run in parallel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import combinations

from vertebra.compiler.routes import Wiring
from vertebra.schemas.authored import AuthoredNode
from vertebra.schemas.graph import END, Join

NONE: frozenset[str] = frozenset()


class Flow:
    """The ways through a graph: its edges and the `on_error` edges of its nodes."""

    def __init__(self, nodes: Mapping[str, AuthoredNode], wiring: Wiring) -> None:
        self.nodes = tuple(nodes)
        self.wiring = wiring
        self.errors = {
            name: node.on_error for name, node in nodes.items() if node.on_error is not None and node.on_error in nodes
        }
        self.optional = {name for name, node in nodes.items() if node.optional}
        self.caps = {name for name, node in nodes.items() if node.max_visits is not None}
        self._reached: dict[tuple[str, frozenset[str]], frozenset[str]] = {}

    def next(self, node: str) -> tuple[str, ...]:
        """Where a token may go from `node`, normal edges first; the end is left out."""
        normal = [target for target in self.wiring.ways[node].targets if target != END]
        error = [self.errors[node]] if node in self.errors else []
        return tuple(dict.fromkeys((*normal, *error)))

    @cached_property
    def before(self) -> dict[str, tuple[str, ...]]:
        """The nodes with an edge to each node."""
        found: dict[str, list[str]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for target in self.next(node):
                found[target].append(node)
        return {node: tuple(sources) for node, sources in found.items()}

    @cached_property
    def start(self) -> str:
        """The first node without in-edges but its own; where all have some, the first of the file."""
        open_ = (node for node in self.nodes if not set(self.before[node]) - {node})
        return next(open_, self.nodes[0])

    @cached_property
    def in_order(self) -> tuple[str, ...]:
        """The reachable nodes, each after its sources but for cycles, so that analyses settle in few rounds."""
        done: list[str] = []
        seen = {self.start}
        todo = [(self.start, iter(self.next(self.start)))]
        while todo:
            node, targets = todo[-1]
            target = next(targets, None)
            if target is None:
                done.append(node)
                todo.pop()
            elif target not in seen:
                seen.add(target)
                todo.append((target, iter(self.next(target))))
        return tuple(reversed(done))

    @cached_property
    def reachable(self) -> frozenset[str]:
        return self.reach(self.start)

    def reach(self, node: str, without: frozenset[str] = NONE) -> frozenset[str]:
        """The nodes on all ways from `node` on, itself included, that do not enter `without`."""
        if node in without:
            return NONE
        key = (node, without)
        if key not in self._reached:
            seen, todo = {node}, [node]
            while todo:
                for target in self.next(todo.pop()):
                    if target not in seen and target not in without:
                        seen.add(target)
                        todo.append(target)
            self._reached[key] = frozenset(seen)
        return self._reached[key]

    def fallback_only(self, node: str) -> bool:
        """Whether every way into `node` is an `on_error` edge, so that it may read `error`."""
        normal = any(node in self.wiring.ways[source].targets for source in self.nodes)
        return not normal and node in self.errors.values() and node != self.start

    @cached_property
    def endless(self) -> tuple[tuple[str, ...], ...]:
        """Cycles that no cap ends: a capped node is left by its `on_error` edge only, others by every edge."""
        return _cycles(self.nodes, {node: self._past_cap(node) for node in self.nodes})

    def _past_cap(self, node: str) -> tuple[str, ...]:
        if node not in self.caps:
            return self.next(node)
        return (self.errors[node],) if node in self.errors else ()

    @cached_property
    def dominators(self) -> dict[str, frozenset[str]]:
        """For each reachable node, the nodes that every way to it enters, itself included."""
        return {node: entered | {node} for node, entered in self._on_every_way(failed_too=True).items()}

    @cached_property
    def passed(self) -> dict[str, frozenset[str]]:
        """For each reachable node, the nodes that have succeeded on every way to it."""
        return self._on_every_way(failed_too=False)

    def _on_every_way(self, *, failed_too: bool) -> dict[str, frozenset[str]]:
        found = dict.fromkeys(self.in_order, self.reachable) | {self.start: NONE}
        changed = True
        while changed:
            changed = False
            for node in self.in_order:
                new = NONE if node == self.start else frozenset.intersection(*self._arrivals(node, found, failed_too))
                if new != found[node]:
                    found[node], changed = new, True
        return found

    def _arrivals(self, node: str, found: Mapping[str, frozenset[str]], failed_too: bool) -> list[frozenset[str]]:
        """What each edge into a node brings along; a failed source has been entered, but has not succeeded."""
        ways = []
        for source in self.before[node]:
            if source in found and node in self.wiring.ways[source].targets:
                ways.append(found[source] | {source})
            if source in found and self.errors.get(source) == node:
                ways.append(found[source] | {source} if failed_too else found[source])
        return ways

    def is_fork(self, node: str) -> bool:
        ways = self.wiring.ways[node]
        return len(self.branches(node)) > 1 and (ways.take == "every" or any(len(edge.to) > 1 for edge in ways.edges))

    def branches(self, node: str) -> tuple[str, ...]:
        """Where a fork sends its branches."""
        ways = self.wiring.ways[node]
        return tuple(target for target in ways.targets if target != END)

    def nearest_passed(self, nodes: Iterable[str]) -> str | None:
        """The last node that has succeeded on all ways to all of these nodes once they have succeeded."""
        common = frozenset.intersection(*(self.passed.get(node, NONE) | {node} for node in nodes)) & self.reachable
        return max(common, key=lambda node: len(self.dominators[node]), default=None)

    @cached_property
    def joins(self) -> dict[str, Join]:
        return {node: self._join(node, sources) for node, sources in self.wiring.joins.items()}

    def _join(self, node: str, sources: tuple[str, ...]) -> Join:
        above = self.nearest_passed(sources)
        fork = above if above is not None and self.is_fork(above) else None
        # a way through the fork again is another round: two joins of one cycle would wait for each other
        again = frozenset((fork,)) if fork is not None else NONE
        stop = again | {node}
        leads = again | {other for other in self.nodes if other != node and self._leads(other, node, stop)}
        need = self.wiring.needs[node]
        return Join(sources=tuple(sorted(sources)), need=need, fork=fork, upstream=tuple(sorted(leads)))

    def _leads(self, other: str, node: str, stop: frozenset[str]) -> bool:
        return any(node in self.next(step) for step in self.reach(other, stop))

    @cached_property
    def parallel(self) -> frozenset[tuple[str, str]]:
        """Pairs of nodes (in file order, also a node with itself) that may run at the same time."""
        return self._side_by_side(racing=False)

    @cached_property
    def racing(self) -> frozenset[tuple[str, str]]:
        """Those of them whose writes may meet: of branches that end in `join: any`, one brings its writes."""
        return self._side_by_side(racing=True)

    def _side_by_side(self, *, racing: bool) -> frozenset[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        order = {node: index for index, node in enumerate(self.nodes)}
        for fork in self.nodes:
            if self.is_fork(fork):
                pairs = [pair for pair in self._pairs(fork) if not (racing and self._one_wins(fork, *pair))]
                areas = {area for pair in pairs for area in self._areas(fork, *pair)}
                for left, right in areas:
                    found |= {(a, b) if order[a] <= order[b] else (b, a) for a in left for b in right}
        return frozenset(found)

    def _pairs(self, fork: str) -> list[tuple[str, str]]:
        """Branches of the fork that are taken together."""
        ways = self.wiring.ways[fork]
        if ways.take == "every":
            return list(combinations(self.branches(fork), 2))
        return [pair for edge in ways.edges for pair in combinations(edge.to, 2)]

    def _areas(self, fork: str, left: str, right: str) -> list[tuple[frozenset[str], frozenset[str]]]:
        """What runs beside what: the branches up to where they meet, and what left a branch beside what follows."""
        meets = frozenset(join for join in self.wiring.joins if self._meet(fork, join, left, right))
        mine, theirs = self.reach(left, meets), self.reach(right, meets)
        areas = [(mine, theirs)]
        for join in meets:
            escaped = (mine | theirs) - frozenset(self.joins[join].upstream) - {join}
            if escaped:
                later = frozenset[str]().union(*(self.reach(node) for node in escaped))
                areas.append((later, self.reach(join)))
        return areas

    def _one_wins(self, fork: str, left: str, right: str) -> bool:
        """Whether only one of two branches comes through: they meet in `join: any`, and no way leads past it."""
        meets = frozenset(join for join in self.wiring.joins if self._meet(fork, join, left, right))
        here = self.reach(left, meets) | self.reach(right, meets)
        return bool(meets) and all(
            self.wiring.needs[join] == 1
            and self.joins[join].fork == fork
            and here <= frozenset(self.joins[join].upstream)
            for join in meets
        )

    def _meet(self, fork: str, join: str, left: str, right: str) -> bool:
        sources = set(self.wiring.joins[join])
        stop = frozenset((fork, join))
        return bool(sources & self.reach(left, stop)) and bool(sources & self.reach(right, stop))


def _cycles(nodes: tuple[str, ...], edges: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """One cycle for each group of nodes that lead to each other, in the order of its ways."""
    found: list[tuple[str, ...]] = []
    left = set(nodes)
    while ends := {node for node in left if not left.intersection(edges[node])}:
        left -= ends
    for node in nodes:
        if node in left and not any(node in cycle for cycle in found) and (cycle := _cycle_through(node, edges)):
            found.append(cycle)
    return tuple(found)


def _cycle_through(node: str, edges: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The shortest way from `node` back to itself, or nothing."""
    came: dict[str, str | None] = dict.fromkeys(edges[node])
    todo = list(came)
    while todo and node not in came:
        here = todo.pop(0)
        for target in edges[here]:
            if target not in came:
                came[target] = here
                todo.append(target)
    if node not in came:
        return ()
    way: list[str] = [node]
    step = came[node]
    while step is not None:
        way.append(step)
        step = came[step]
    return (way[0], *reversed(way[1:]))
