"""State channels: what a node writes on success, checked against the channel's type and put in by its reducer."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TypeGuard

from pydantic import TypeAdapter

from vertebra.engine.state import Branch, NodeResult, Undo, Write
from vertebra.engine.values import ABSENT, Absent, Found, Stored, channel_of, literal, of_result, too_large
from vertebra.engine.working import Work
from vertebra.policies.fields import inspect_field
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Reducer, Value

_FIELD = TypeAdapter(Field)


def defaults(work: Work) -> dict[str, Json]:
    """The channels that have a value before anybody wrote."""
    channels = work.graph.state.items()
    return {name: literal(channel.default_json) for name, channel in channels if channel.default_json is not None}


def write(work: Work, branch: Branch, result: NodeResult) -> Branch | CallError:
    """The branch after its node wrote all its channels; or why it wrote none."""
    before = Undo(branch.state, branch.writes)
    for channel, value in work.node(branch).write.items():
        item = _item(branch, channel, value, result)
        if isinstance(item, CallError):
            return item
        if not isinstance(item, Absent | Stored):
            problem = _problem(work, branch, channel, item)
            if problem is not None:
                return problem
            branch = put(work, branch, Write(branch.at, branch.visit, channel, item))
    return replace(branch, undo=before)


def put(work: Work, branch: Branch, written: Write) -> Branch:
    """The branch after one write."""
    reducer = work.graph.state[written.channel].reduce
    after = reduced(reducer, channel_of(work, branch, written.channel), written.value)
    kept = () if branch.parent is None else (*branch.writes, written)
    return replace(branch, state={**branch.state, written.channel: after}, writes=kept)


def reduced(reducer: Reducer, old: Found, new: Json) -> Json:
    """The channel after a write. Total: where types do not fit each other, the new value stands."""
    if reducer == "append":
        return [*old, new] if isinstance(old, list) else [new]
    if reducer == "merge" and isinstance(old, dict) and isinstance(new, dict):
        return {**old, **new}
    if reducer == "sum" and _is_number(old) and _is_number(new):
        return _sum(old, new)
    if reducer == "max" and (_is_number(old) and _is_number(new)):
        return max(old, new)
    if reducer == "max" and isinstance(old, str) and isinstance(new, str):
        return max(old, new)
    return new


def _sum(old: float, new: float) -> float:
    """The sum; beyond the range of floats the largest one, as no JSON text has infinity."""
    try:
        total = old + new
    except OverflowError:
        # an integer beyond all floats, which decides the sign
        return -_LARGEST if (old if isinstance(old, int) else new) < 0 else _LARGEST
    return total if isinstance(total, int) or math.isfinite(total) else math.copysign(_LARGEST, total)


_LARGEST = 1.7976931348623157e308


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _item(branch: Branch, channel: str, value: Value, result: NodeResult) -> Found | CallError:
    if value.json_text is not None:
        return literal(value.json_text)
    found = of_result(result, value.path or "")
    if isinstance(found, Stored):
        return too_large(branch, channel)
    if found is ABSENT and value.required:
        message = f"node {branch.at!r} writes channel {channel!r} from {value.path!r}, which its result does not have"
        return CallError(
            type="MissingValue",
            message=message,
            node=branch.at,
            visit=branch.visit,
            do="override with one that has it",
        )
    return found


def _problem(work: Work, branch: Branch, name: str, item: Json) -> CallError | None:
    """Why the value does not fit the channel: its name, what it expects, what it got."""
    channel = work.graph.state[name]
    field = _field(channel.type_json)
    if channel.reduce == "append":
        found = [] if field.item_type is None else inspect_field(field.item_type, item)
    elif channel.reduce == "merge" and isinstance(item, dict):
        found = inspect_field(field, reduced("merge", channel_of(work, branch, name), item))
    else:
        found = inspect_field(field, item)
    if not found:
        return None
    return CallError(
        type="WrongType",
        message=f"channel {name!r} of node {branch.at!r}: " + "; ".join(str(problem) for problem in found),
        node=branch.at,
        visit=branch.visit,
        do="override the node with a result that fits",
    )


@lru_cache(maxsize=1024)
def _field(text: str) -> Field:
    return _FIELD.validate_json(text)
