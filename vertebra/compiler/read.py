"""Reads a graph file into an AgentGraph: its shape only, with every mistake of shape at its line."""

from __future__ import annotations

import copy
import json
from typing import Any, get_args

from pydantic import ValidationError

from vertebra.boundary.strict_yaml import read_yaml
from vertebra.compiler.edges import read_edges
from vertebra.compiler.explain import explain, unknown_key
from vertebra.compiler.faults import Faults
from vertebra.policies.declared import read_fields
from vertebra.policies.fields import nearest
from vertebra.schemas.authored import AgentGraph, AuthoredChannel, AuthoredOutput
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Reducer
from vertebra.schemas.places import Complain, Places

_OWN = ("input", "output", "state", "edges")
"""Keys that have readers of their own."""
_REDUCERS: tuple[Reducer, ...] = get_args(Reducer)


def read_shape(text: str | bytes, file: str) -> tuple[AgentGraph | None, Faults]:
    """The graph as far as its shape can be read, and what is wrong with it. Raises BadFile where it is no graph."""
    return read_document(*read_source(text, file))


def read_source(text: str | bytes, file: str) -> tuple[dict[str, Json], Places]:
    """What a graph file says, and where. Raises BadFile where it is no graph."""
    source = read_yaml(text, file)
    if not isinstance(source.value, dict):
        raise BadFile("a graph file is a mapping", at=source.marks.at(()), do="begin with: graph: NAME")
    return source.value, source.marks


def read_document(value: dict[str, Json], places: Places) -> tuple[AgentGraph | None, Faults]:
    """The same of a graph that was read or built already."""
    faults = Faults(places)
    graph = _shape(value, faults)
    shapeless = len(faults.found)
    declared = {
        "input": read_fields(value.get("input"), ("input",), faults),
        "output": _output(value.get("output"), faults),
        "state": _state(value.get("state"), faults),
        "edges": read_edges(value.get("edges"), ("edges",), faults),
        "places": places,
    }
    if graph is None or len(faults.found) > shapeless:
        return None, faults
    return graph.model_copy(update=declared), faults


def _shape(raw: dict[str, Json], faults: Faults) -> AgentGraph | None:
    rest = {key: value for key, value in raw.items() if key not in (*_OWN, "places")}
    if "places" in raw:
        unknown_key(("places",), AgentGraph, faults)
    try:
        return AgentGraph.model_validate_json(json.dumps(rest))
    except ValidationError as error:
        explain(error, raw, AgentGraph, faults)
        return _without_unknown_keys(rest, error)


def _without_unknown_keys(raw: dict[str, Json], error: ValidationError) -> AgentGraph | None:
    """The graph without the keys that it may not have, where nothing else is wrong with its shape."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if any(detail["type"] != "extra_forbidden" for detail in details):
        return None
    rest = copy.deepcopy(raw)
    for detail in details:
        above: Any = rest
        for part in detail["loc"][:-1]:
            above = above[part]
        del above[detail["loc"][-1]]
    return AgentGraph.model_validate_json(json.dumps(rest))


def _extras(raw: Json, key: str) -> dict[str, Json]:
    """What stands under `key` in each declared field; `fields:` around them is optional."""
    if isinstance(raw, dict) and list(raw) == ["fields"] and isinstance(raw["fields"], dict):
        raw = raw["fields"] if not isinstance(raw["fields"].get("type"), str) else raw
    items = raw.items() if isinstance(raw, dict) else ()
    return {name: field[key] for name, field in items if isinstance(field, dict) and key in field}


def _output(raw: Json, faults: Faults) -> dict[str, AuthoredOutput]:
    sources = _extras(raw, "from")
    fields = read_fields(raw, ("output",), faults, extra=("from",))
    return {name: AuthoredOutput(field=field, source=sources.get(name)) for name, field in fields.items()}


def _state(raw: Json, faults: Faults) -> dict[str, AuthoredChannel]:
    reducers = _extras(raw, "reduce")
    fields = read_fields(raw, ("state",), faults, extra=("reduce",))
    return {name: _channel(name, field, reducers.get(name, "replace"), faults) for name, field in fields.items()}


def _channel(name: str, field: Field, reduce: Json, complain: Complain) -> AuthoredChannel:
    known = next((reducer for reducer in _REDUCERS if reducer == reduce), None)
    if known is None:
        complain(("state", name, "reduce"), f"unknown reducer {reduce!r}", nearest(str(reduce), _REDUCERS))
    return AuthoredChannel(field=field, reduce=known or "replace")
