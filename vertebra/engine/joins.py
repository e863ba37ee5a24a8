"""Forks and joins: branches part, see only their own writes, and meet in node-id order, not in order of arrival."""

from __future__ import annotations

from dataclasses import replace

from vertebra.engine import channels
from vertebra.engine.state import Branch
from vertebra.engine.values import lineage
from vertebra.engine.working import Work
from vertebra.schemas.graph import Join


def move(work: Work, branch: Branch, target: str) -> None:
    """Take the branch over an edge: to wait at a join, or into a node."""
    source = branch.at
    join = work.graph.joins.get(target)
    if join is not None and source in join.sources and _fork(work, branch, join) is not None:
        work.put(replace(branch, at=target, visit=0, stage="arrived", source=source, turn=None, kept=None, undo=None))
    else:
        work.go(branch, target)


def fork(work: Work, branch: Branch, targets: tuple[str, ...]) -> None:
    """One branch per target; they see what this branch sees, and this one stands still until they are joined."""
    work.put(replace(branch, stage="forked", turn=None, kept=None, undo=None))
    children = [
        Branch(id=f"{branch.id}/{target}.{branch.visit}", at=branch.at, parent=branch.id) for target in sorted(targets)
    ]
    for child in children:
        work.put(child)
    for child, target in zip(children, sorted(targets), strict=True):
        move(work, child, target)


def fire_ready(work: Work) -> bool:
    """Let one join fire whose branches have all arrived; False if there is none."""
    groups: dict[tuple[str, str], list[Branch]] = {}
    for branch in work.branches.values():
        if branch.stage == "arrived":
            above = _fork(work, branch, work.graph.joins[branch.at])
            assert above is not None
            groups.setdefault((branch.at, above.id), []).append(branch)
    for node, above_id in sorted(groups):
        if _is_complete(work, node, above_id):
            _fire(work, node, work.branches[above_id], groups[node, above_id])
            return True
    return False


def _fork(work: Work, branch: Branch, join: Join) -> Branch | None:
    """The branch that was forked at the join's fork, of those that this branch came from."""
    for holder in lineage(work, branch):
        if holder.stage == "forked" and holder.at == join.fork:
            return holder
    return None


def _is_complete(work: Work, node: str, above: str) -> bool:
    """Whether no branch of this fork can still come: none stands where the join can be reached from."""
    upstream = frozenset(work.graph.joins[node].upstream)
    for leaf in work.leaves():
        here = leaf.stage == "arrived" and leaf.at == node
        if not here and leaf.at in upstream and _is_under(work, leaf, above):
            return False
    return True


def _is_under(work: Work, branch: Branch, above: str) -> bool:
    return any(holder.id == above for holder in lineage(work, branch))


def _fire(work: Work, node: str, above: Branch, arrived: list[Branch]) -> None:
    """Put the branches together: into the forked branch, or, while others of the fork go on, into one beside them."""
    arrived = sorted(arrived, key=lambda branch: (branch.source, branch.id))
    merged = _in_order(work, above, arrived)
    for branch in arrived:
        del work.branches[branch.id]
    _drop_childless(work, merged)
    target = above
    if any(leaf.id != above.id and _is_under(work, leaf, above.id) for leaf in work.branches.values()):
        name = f"{above.id}/{node}+{work.visits.get(node, 0) + 1}"
        target = Branch(id=name, at=node, parent=above.id)
    work.go(_merged(work, target, merged), node)


def _in_order(work: Work, above: Branch, arrived: list[Branch]) -> list[Branch]:
    """The branches whose writes count, by source; each after those that it was forked from."""
    found: dict[str, Branch] = {}
    for branch in arrived:
        inner = [branch]
        while inner[-1].parent != above.id and inner[-1].parent is not None:
            inner.append(work.branches[inner[-1].parent])
        found.update({holder.id: holder for holder in reversed(inner) if holder.id not in found})
    return list(found.values())


def _merged(work: Work, target: Branch, branches: list[Branch]) -> Branch:
    """The target after all writes, each once, and all results; of two results of one node the later visit stands."""
    writes = {(write.node, write.visit, write.channel): write for branch in branches for write in branch.writes}
    for write in writes.values():
        target = channels.put(work, target, write)
    results = dict(target.results)
    for branch in branches:
        for node, result in branch.results.items():
            if node not in results or results[node].visit < result.visit:
                results[node] = result
    return replace(target, results=results)


def _drop_childless(work: Work, merged: list[Branch]) -> None:
    """Forget inner forked branches that have no branch left, the innermost first."""
    for branch in reversed(merged):
        if branch.id in work.branches and all(other.parent != branch.id for other in work.branches.values()):
            del work.branches[branch.id]
