"""What a call was given, with everything that travelled by reference put back in its place."""

from __future__ import annotations

import json

from pydantic import JsonValue

from vertebra.activities.world import World
from vertebra.schemas.call import ArtifactRef, CallInput
from vertebra.schemas.errors import BadInput


async def resolved(given: CallInput, tenant: str, world: World) -> CallInput:
    """The same input with its values inline. Raises NotFound, TamperedRow, BadInput."""
    if given.whole is not None:
        given = _same_call(given, CallInput.model_validate(await fetched(given.whole, tenant, world)))
    if not given.refs:
        return given
    values = dict(given.values)
    for name, ref in sorted(given.refs.items()):
        values[name] = part_of(await fetched(ref, tenant, world), given.ref_paths.get(name, ""), name)
    return given.model_copy(update={"values": values, "refs": {}, "ref_paths": {}})


def _same_call(outer: CallInput, inner: CallInput) -> CallInput:
    """What was stored, as the call that was checked: no artifact may turn it into another one."""
    names = ("kind", "node", "visit", "turn", "tool", "tool_call")
    return inner.model_copy(update={name: getattr(outer, name) for name in names} | {"whole": None})


async def fetched(ref: ArtifactRef, tenant: str, world: World) -> JsonValue:
    """The value that a reference names, checked against its hash."""
    value: JsonValue = json.loads(await world.artifacts.get(tenant, ref.sha256))
    return value


def part_of(value: JsonValue, path: str, name: str) -> JsonValue:
    """The part of a value at a dotted path. Raises BadInput where it has none."""
    for part in filter(None, path.split(".")):
        if not isinstance(value, dict) or part not in value:
            raise BadInput(f"the value for {name!r} has no part {path!r}", at=name)
        value = value[part]
    return value
