"""Which results and channels are surely there when a node begins, whatever way the run took to it.

An operator's `skip` is no way of the graph: what it leaves out blocks its reader by name when it happens.
"""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.compiler.flow import Flow
from vertebra.compiler.routes import Way
from vertebra.schemas.graph import END

Facts = frozenset[str]
"""Names of what is there: a node's id (it has a result), or `state.NAME` (the channel was written)."""


class Presence:
    """A forward analysis: of alternatives what all have, of branches that meet what the taken ones surely bring."""

    def __init__(self, flow: Flow, gives: Mapping[str, Facts]) -> None:
        """`gives` names the channels that each node's success surely writes."""
        self._flow = flow
        self._gives = gives
        everything = frozenset(flow.nodes) | frozenset(name for names in gives.values() for name in names)
        self._at: dict[str, Facts] = dict.fromkeys(flow.nodes, everything)
        changed = True
        while changed:
            changed = False
            for node in flow.in_order:
                found = self._arrive(node)
                if found != self._at[node]:
                    self._at[node], changed = found, True

    def at(self, node: str) -> Facts:
        """What is there when the node begins."""
        return self._at[node]

    def after(self, node: str) -> Facts:
        """What is there when it has succeeded."""
        return self._at[node] | self._gives[node] | {node}

    def left(self, node: str, target: str | None = None) -> Facts:
        """What is there when the node is left, to `target` if one is named: an optional one may have been skipped."""
        ways = self._flow.wiring.ways[node].edges
        plain = any(edge.when is None and target in (None, *edge.to) for edge in ways)
        return self._at[node] if node in self._flow.optional and plain else self.after(node)

    @property
    def at_end(self) -> Facts:
        """What is there whichever final edge ends the run."""
        ends = [self.left(node, END) for node in self._flow.in_order if END in self._flow.wiring.ways[node].targets]
        return frozenset.intersection(*ends) if ends else frozenset()

    def _arrive(self, node: str) -> Facts:
        ways: list[Facts] = [frozenset()] if node == self._flow.start else []
        joined = self._flow.joins.get(node)
        for source in self._flow.before[node]:
            if source not in self._flow.reachable:
                continue
            if node in self._flow.wiring.ways[source].targets and not (joined and source in joined.sources):
                ways.append(self.left(source, node))
            if self._flow.errors.get(source) == node:
                ways.append(self._at[source])
        if joined is not None:
            ways.append(self._join(node))
        return frozenset.intersection(*ways) if ways else frozenset()

    def _join(self, node: str) -> Facts:
        join = self._flow.joins[node]
        if join.fork is None:
            return frozenset.intersection(*(self.left(source, node) for source in join.sources))
        ways = self._flow.wiring.ways[join.fork]
        base = self.left(join.fork)
        brought = [(edge, self._edge(node, join.fork, edge)) for edge in ways.edges]
        leading = [(edge, facts) for edge, facts in brought if facts is not None]
        if join.need != "all":
            need = (
                1 if ways.take == "every" else join.need
            )  # of a group nobody knows how many come, so any may be first
            sure = [self._brings(node, join.fork, edge, need) for edge, _ in leading]
            return base.union(*([frozenset.intersection(*sure)] if sure else []))
        always = [facts for edge, facts in leading if ways.take == "every" and edge.when is None and not edge.otherwise]
        if always:
            return base.union(*always)
        return base | (frozenset.intersection(*(facts for _, facts in leading)) if leading else frozenset())

    def _edge(self, node: str, fork: str, edge: Way) -> Facts | None:
        """What the branches of one edge surely bring together, or None if the edge does not lead to the join."""
        branches = [self._branch(node, fork, target) for target in edge.to if target != END]
        brought = [facts for facts in branches if facts is not None]
        return frozenset[str]().union(*brought) if brought else None

    def _brings(self, node: str, fork: str, edge: Way, need: int) -> Facts:
        """What so many of an edge's branches surely bring, whichever are first: too few lack it to be all of those."""
        targets = [target for target in edge.to if target != END]
        branches = [facts for target in targets if (facts := self._branch(node, fork, target)) is not None]
        if any(self._arrives_often(node, fork, target) for target in targets):
            need = 1
        found = frozenset[str]().union(*branches)
        return frozenset(fact for fact in found if sum(fact not in facts for facts in branches) < need)

    def _arrives_often(self, node: str, fork: str, target: str) -> bool:
        """Whether one branch may come to the join as several, by a fork of its own."""
        return any(self._flow.is_fork(step) for step in self._flow.reach(target, frozenset((node, fork))))

    def _branch(self, node: str, fork: str, target: str) -> Facts | None:
        join = self._flow.joins[node]
        area = self._flow.reach(target, frozenset((node, fork)))
        arriving = [source for source in join.sources if source in area]
        if not arriving:
            return None
        if area - frozenset(join.upstream) or any(fork in self._flow.next(step) for step in area):
            return frozenset()  # it may leave by another way, and the others go on without it
        return frozenset.intersection(*(self.left(source, node) for source in arriving))
