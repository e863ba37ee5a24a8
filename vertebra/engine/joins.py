"""Forks and joins: branches part, see only their own writes, and meet in node-id order, not in order of arrival."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vertebra.engine import channels
from vertebra.engine.endings import LOST, cancel
from vertebra.engine.state import Branch
from vertebra.engine.values import lineage
from vertebra.engine.working import Work, where
from vertebra.schemas.graph import Join
from vertebra.schemas.run import Past


def move(work: Work, branch: Branch, target: str) -> None:
    """Take the branch over an edge: to wait at a join, or into a node."""
    source = branch.at
    join = work.graph.joins.get(target)
    if join is not None and source in join.sources and _fork(work, branch, join) is not None:
        order = 1 + max((other.order for other in _arrived(work, target)), default=0)
        arrived = replace(branch, at=target, visit=0, stage="arrived", source=source, order=order)
        work.put(replace(arrived, turn=None, kept=None, undo=None))
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
    """Let one join fire whose branches have arrived; False if there is none."""
    if work.past:
        _forget_void(work)
        if work.todo:
            return True
    groups: dict[tuple[str, str], list[Branch]] = {}
    for branch in work.branches.values():
        if branch.stage == "arrived":
            above = _fork(work, branch, work.graph.joins[branch.at])
            assert above is not None
            groups.setdefault((branch.at, above.id), []).append(branch)
    for node, above_id in sorted(groups):
        winners = _winners(work, node, above_id, groups[node, above_id])
        if winners:
            _fire(work, node, work.branches[above_id], winners)
            return True
    return False


def _forget_void(work: Work) -> None:
    """What stands for winners that went another way than before stands in vain."""
    standing = [where(branch) for branch in work.branches.values() if branch.stage == "standing"]
    for past in list(work.past.values()):
        if past.won and any(place in past.lost for place in standing) and not _may_win(work, past):
            _forget(work, past)


def release(work: Work, standing: Iterable[Branch]) -> None:
    """Let branches go on that stood still for a join."""
    for branch in sorted(standing, key=lambda branch: (branch.at, branch.visit, branch.id)):
        work.then("route" if branch.redo == "route" else "start", branch)


def _arrived(work: Work, node: str) -> list[Branch]:
    return [branch for branch in work.branches.values() if branch.stage == "arrived" and branch.at == node]


def _fork(work: Work, branch: Branch, join: Join) -> Branch | None:
    """The branch that was forked at the join's fork, of those that this branch came from."""
    for holder in lineage(work, branch):
        if holder.stage == "forked" and holder.at == join.fork:
            return holder
    return None


def _winners(work: Work, node: str, above: str, arrived: list[Branch]) -> list[Branch]:
    """The branches that the join takes now; none while it waits for more."""
    need, coming = work.graph.joins[node].need, _coming(work, node, above)
    if need == "all":
        return [] if coming else arrived
    before = work.past.get(_place(work, node))
    if before is not None:
        won = [branch for branch in arrived if branch.id in before.won]
        if len(won) == len(before.won):
            return won
        if _may_win(work, before):
            return []
        _forget(work, before)
    if coming and len(arrived) < need:
        return []
    return sorted(arrived, key=lambda branch: (branch.order, branch.id))[:need]


def _may_win(work: Work, past: Past) -> bool:
    """Whether all who won before have arrived or can still come."""
    alive = [leaf for leaf in work.leaves() if leaf.stage != "standing" and _leads(work, leaf, past.node)]
    return all(any(_may_become(work, leaf, won) for leaf in alive) for won in past.won)


def _leads(work: Work, leaf: Branch, node: str) -> bool:
    return leaf.at in work.graph.joins[node].upstream or (leaf.stage == "arrived" and leaf.at == node)


def _may_become(work: Work, leaf: Branch, id_: str) -> bool:
    """Whether a branch is the one of this id, will be joined into it, or may be forked or joined on the way to it."""
    if leaf.id == id_ or leaf.id.startswith(f"{id_}/") or id_.startswith(f"{leaf.id}/"):
        return True
    inner = [part.partition("+")[0] for part in id_.split("/") if "+" in part]
    return any(_leads(work, leaf, node) for node in inner if node in work.graph.joins)


def _forget(work: Work, past: Past) -> None:
    """The run came another way than before: what won then cannot win now."""
    del work.past[f"{past.node}#{past.visit}"]
    branches = [branch for branch in work.branches.values() if branch.stage == "standing"]
    release(work, [branch for branch in branches if where(branch) in past.lost])


def _place(work: Work, node: str) -> str:
    """The visit that the join is about to make."""
    return f"{node}#{work.visits.get(node, 0) + 1}"


def _coming(work: Work, node: str, above: str) -> list[Branch]:
    """The branches of this fork that can still come: they stand where the join can be reached from."""
    upstream = frozenset(work.graph.joins[node].upstream)
    return [
        leaf
        for leaf in work.leaves()
        if not (leaf.stage == "arrived" and leaf.at == node) and leaf.at in upstream and _is_under(work, leaf, above)
    ]


def _is_under(work: Work, branch: Branch, above: str) -> bool:
    return any(holder.id == above for holder in lineage(work, branch))


def _fire(work: Work, node: str, above: Branch, arrived: list[Branch]) -> None:
    """Put the branches together: into the forked branch, or, while others of the fork go on, into one beside them."""
    arrived = sorted(arrived, key=lambda branch: (branch.source, branch.id))
    if work.graph.joins[node].need != "all":
        _settle(work, node, above, arrived)
    merged = _in_order(work, above, arrived)
    for branch in arrived:
        del work.branches[branch.id]
    _drop_childless(work, merged)
    target = above
    if any(leaf.id != above.id and _is_under(work, leaf, above.id) for leaf in work.branches.values()):
        name = f"{above.id}/{node}+{work.visits.get(node, 0) + 1}"
        target = Branch(id=name, at=node, parent=above.id)
    work.go(_merged(work, target, merged), node)


def _settle(work: Work, node: str, above: Branch, winners: list[Branch]) -> None:
    """Put on record which branches the join takes, and cancel the others."""
    ids = [branch.id for branch in winners]
    late = [branch for branch in _arrived(work, node) if _is_under(work, branch, above.id) and branch.id not in ids]
    losers = sorted([*late, *_coming(work, node, above.id)], key=lambda branch: (branch.at, branch.visit, branch.id))
    place = _place(work, node)
    work.past.pop(place, None)
    work.join_note(node, above, winners, [where(branch) for branch in losers if branch.stage != "arrived"])
    for branch in losers:
        cancel(work, branch, LOST)
        work.leave(branch)
    for branch in losers:
        _drop_up(work, branch, above.id)


def _drop_up(work: Work, branch: Branch, above: str) -> None:
    """Forget the inner forked branches that a cancelled branch leaves without children."""
    parent = branch.parent
    while parent != above and parent in work.branches:
        if any(other.parent == parent for other in work.branches.values()):
            return
        parent = work.branches.pop(parent).parent


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
