"""Where values come from: dotted paths into input, state, error and results, as one branch sees them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from vertebra.engine.state import Branch, NodeResult
from vertebra.engine.working import Work
from vertebra.schemas.call import ArtifactRef, CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import Value


class Absent(Enum):
    """No value: the node has no result, the channel was never written, or the field is not there."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Stored:
    """A value, or the part of it at `path`, that lies in an artifact and not in the run."""

    ref: ArtifactRef
    path: str = ""


Found = Json | Stored | Absent


@dataclass(frozen=True, slots=True)
class Given:
    """Resolved values of a node: inline, and by reference with the path inside the artifact."""

    values: dict[str, Json] = field(default_factory=dict)
    refs: dict[str, ArtifactRef] = field(default_factory=dict)
    ref_paths: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def literal(text: str) -> Json:
    """The value of an author's JSON text. Shared: nothing here changes a value."""
    value: Json = json.loads(text)
    return value


def look_up(work: Work, branch: Branch, path: str) -> Found:
    """The value at a path as this branch sees it."""
    root, _, rest = path.partition(".")
    if root == "input":
        return inside(work.input, rest)
    if root == "state":
        return _state(work, branch, rest)
    if root == "error":
        error = _error(work, branch)
        return ABSENT if error is None else inside(error.model_dump(mode="json"), rest)
    return of_result(result_of(work, branch, root), rest)


def of_result(result: NodeResult | None, path: str) -> Found:
    """The value at a path inside a node's result."""
    if result is None:
        return ABSENT
    if result.ref is not None:
        return Stored(result.ref, path)
    return inside(result.value, path)


def inside(value: Json, path: str) -> Found:
    """The value at a dotted path inside a value; the empty path is the value itself."""
    if path:
        for name in path.split("."):
            if not isinstance(value, dict) or name not in value:
                return ABSENT
            value = value[name]
    return value


def channel_of(work: Work, branch: Branch, name: str) -> Found:
    """A channel as this branch sees it: its own writes over those of the branches that it was forked from."""
    for holder in lineage(work, branch):
        if name in holder.state:
            return holder.state[name]
    return ABSENT


def result_of(work: Work, branch: Branch, node: str) -> NodeResult | None:
    """The latest result of a node as this branch sees it."""
    for holder in lineage(work, branch):
        if node in holder.results:
            return holder.results[node]
    return None


def lineage(work: Work, branch: Branch) -> Iterable[Branch]:
    """The branch, then those that it was forked from, outwards."""
    here: Branch | None = branch
    while here is not None:
        yield here
        here = None if here.parent is None else work.branches[here.parent]


def resolve(work: Work, branch: Branch, values: Mapping[str, Value]) -> Given | CallError:
    """All values of a node, optional absent ones left out; an error names the first required one that is absent."""
    given = Given()
    for name, value in values.items():
        found = source(work, branch, value)
        if isinstance(found, Absent):
            if value.required:
                return missing(branch, name, value)
        elif isinstance(found, Stored):
            given.refs[name] = found.ref
            if found.path:
                given.ref_paths[name] = found.path
        else:
            given.values[name] = found
    return given


def resolve_inline(work: Work, branch: Branch, values: Mapping[str, Value]) -> dict[str, Json] | CallError:
    """All values of a node that works inside the run, where a value in an artifact cannot be read."""
    given = resolve(work, branch, values)
    if isinstance(given, Given) and given.refs:
        return too_large(branch, next(iter(given.refs)))
    return given.values if isinstance(given, Given) else given


def source(work: Work, branch: Branch, value: Value) -> Found:
    if value.path is not None:
        return look_up(work, branch, value.path)
    return ABSENT if value.json_text is None else literal(value.json_text)


def missing(branch: Branch, name: str, value: Value) -> CallError:
    return CallError(
        type="MissingValue",
        message=f"node {branch.at!r} needs {name!r} from {value.path!r}, which is absent",
        node=branch.at,
        visit=branch.visit,
        do="override this node with a result by hand, or skip it",
    )


def too_large(branch: Branch, name: str) -> CallError:
    return CallError(
        type="TooLarge",
        message=f"node {branch.at!r} needs {name!r} inline, but it lies in an artifact",
        node=branch.at,
        visit=branch.visit,
        do="let an llm, agent or tool node read it and return a smaller value, or override this node",
    )


def flat_facts(work: Work, branch: Branch, paths: Iterable[str]) -> dict[str, Json]:
    """Dotted path to value, for the expressions that the gate evaluates; absent ones left out."""
    found = {path: look_up(work, branch, path) for path in paths}
    return {path: value for path, value in found.items() if not isinstance(value, Stored | Absent)}


def nested_facts(work: Work, branch: Branch, paths: Iterable[str]) -> dict[str, Json]:
    """The values that a condition reads, as nested maps; the outermost map of a path is there even if it is empty."""
    tree: dict[str, Json] = {}
    whole: list[str] = []
    for path in sorted(paths):
        if any(path.startswith(f"{shorter}.") for shorter in whole):
            continue
        found = look_up(work, branch, path)
        if "." in path:
            tree.setdefault(path.partition(".")[0], {})
        if not isinstance(found, Stored | Absent):
            whole.append(path)
            _plant(tree, path.split("."), found)
    return tree


def _plant(tree: dict[str, Json], names: list[str], value: Json) -> None:
    for name in names[:-1]:
        below = tree.setdefault(name, {})
        assert isinstance(below, dict)
        tree = below
    tree[names[-1]] = value


def _state(work: Work, branch: Branch, path: str) -> Found:
    name, _, rest = path.partition(".")
    if name:
        found = channel_of(work, branch, name)
        return found if isinstance(found, Stored | Absent) else inside(found, rest)
    whole: dict[str, Json] = {}
    for holder in reversed(list(lineage(work, branch))):
        whole.update(holder.state)
    return whole


def _error(work: Work, branch: Branch) -> CallError | None:
    return next((holder.error for holder in lineage(work, branch) if holder.error is not None), None)
