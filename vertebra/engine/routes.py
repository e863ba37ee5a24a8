"""What comes after a node: a plain edge, a fork, the first true condition, every true one, or the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vertebra.engine.decisions import Answers, all_true, ask, first_true
from vertebra.engine.endings import end_run, outputs
from vertebra.engine.failures import block
from vertebra.engine.joins import fork, move
from vertebra.engine.state import Branch
from vertebra.engine.working import Work
from vertebra.schemas.call import CallError
from vertebra.schemas.graph import END, Condition, Edge, Route

_TO_END = Route(take="all", edges=(Edge(to=(END,)),))


def route(work: Work, branch: Branch) -> None:
    """Choose the edges of a node that is done; conditions are decided first."""
    if work.stands(branch, "route"):
        return
    way = _way(work, branch)
    conditions = _conditions(way)
    if way.take == "named":
        _take_named(work, branch, way)
    elif way.take == "all":
        take(work, branch, way.edges)
    elif conditions:
        ask(work, branch, "routing", conditions)
    else:
        _take_or_block(work, branch, [edge for edge in way.edges if edge.when is None])


def decided(work: Work, branch: Branch, answers: Answers) -> None:
    """The conditions of a node's edges were decided; a failed one blocks the node, unless one before it is taken."""
    way = _way(work, branch)
    edges = [edge for edge in way.edges if edge.when is not None]
    plain = [edge for edge in way.edges if edge.when is None and not edge.otherwise]
    if way.take == "every":
        found = all_true(branch, _conditions(way), answers)
        chosen = found if isinstance(found, CallError) else [*plain, *(edges[index] for index in found)]
    else:
        first = first_true(branch, _conditions(way), answers)
        chosen = first if isinstance(first, CallError) else plain if first is None else [edges[first]]
    if isinstance(chosen, CallError):
        block(work, branch, chosen, "route")
    else:
        _take_or_block(work, branch, chosen or [edge for edge in way.edges if edge.otherwise])


def _take_named(work: Work, branch: Branch, way: Route) -> None:
    """The one edge to the node that the router's result names, also where a person wrote the result."""
    result = branch.results[branch.at].value
    target = result.get("next") if isinstance(result, dict) else None
    _take_or_block(work, branch, [edge for edge in way.edges if edge.to == (target,)])


def take(work: Work, branch: Branch, edges: Iterable[Edge]) -> None:
    """Go over these edges: on, apart, or to the end of the run."""
    targets = tuple(dict.fromkeys(target for edge in edges for target in edge.to))
    if END in targets:
        _end(work, branch, targets)
        return
    work.plan_note(branch, targets)
    if len(targets) == 1:
        move(work, branch, targets[0])
    else:
        fork(work, branch, targets)


def ways_out(work: Work, branch: Branch) -> list[Edge]:
    """The edges that need no condition: plain ones, else the else edge."""
    way = _way(work, branch)
    edges = way.edges
    if way.take == "named" and len(edges) > 1:
        return []
    plain = [edge for edge in edges if edge.when is None and not edge.otherwise]
    return plain or [edge for edge in edges if edge.otherwise]


def skip(work: Work, branch: Branch) -> None:
    """Leave the node without a result of this visit; an earlier visit's stays. Without a way out it blocks again."""
    edges = ways_out(work, branch)
    if not edges:
        _cannot_skip(work, branch)
        return
    if branch.redo == "route":
        # the node itself is done and keeps its result: only the choice of its edge is skipped
        work.plan_note(branch, (), "skipped")
    else:
        work.drop_calls(branch)
        work.task_note(branch, "skipped")
        work.step(branch.at, branch.visit, "skipped")
    take(work, replace(branch, turn=None, kept=None), edges)


def skip_failed(work: Work, branch: Branch) -> None:
    """Leave an optional node that failed, whose failure is on record."""
    edges = ways_out(work, branch)
    if edges:
        take(work, replace(branch, turn=None, kept=None), edges)
    else:
        _cannot_skip(work, branch)


def _cannot_skip(work: Work, branch: Branch) -> None:
    """Block again a node that has neither a plain nor an else edge."""
    message = f"node {branch.at!r} cannot be skipped: all its edges have conditions"
    block(work, branch, _error(branch, "NoEdge", message, "override it with a result by hand"), branch.redo)


def _way(work: Work, branch: Branch) -> Route:
    return work.graph.routes.get(branch.at, _TO_END)


def _conditions(way: Route) -> list[Condition]:
    return [edge.when for edge in way.edges if edge.when is not None]


def _take_or_block(work: Work, branch: Branch, edges: list[Edge]) -> None:
    if edges:
        take(work, branch, edges)
        return
    message = f"no edge of node {branch.at!r} is true, and it has no else"
    block(work, branch, _error(branch, "NoEdge", message, "override the node with a result that fits an edge"), "route")


def _end(work: Work, branch: Branch, targets: tuple[str, ...]) -> None:
    """A final edge ends the run, whatever else still runs."""
    output = outputs(work, branch)
    if isinstance(output, CallError):
        block(work, branch, output, "route")
        return
    work.plan_note(branch, targets)
    end_run(work, "completed", output=output, but=branch.id)


def _error(branch: Branch, kind: str, message: str, do: str) -> CallError:
    return CallError(type=kind, message=message, node=branch.at, visit=branch.visit, do=do)
