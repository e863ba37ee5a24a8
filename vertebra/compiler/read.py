"""Reads a graph file into an AgentGraph: its shape only, with every mistake of shape at its line."""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vertebra.boundary.strict_yaml import read_yaml
from vertebra.compiler.edges import read_edges
from vertebra.compiler.faults import Faults
from vertebra.policies.declared import read_fields
from vertebra.policies.fields import nearest
from vertebra.schemas.authored import AgentGraph, AuthoredChannel, AuthoredOutput
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Reducer
from vertebra.schemas.places import Complain, Path

_OWN = ("input", "output", "state", "edges")
"""Keys that have readers of their own."""
_REDUCERS: tuple[Reducer, ...] = get_args(Reducer)
_INSTEAD = {
    ("agents", "output"): "the prompt owns the output schema: declare the fields there",
    ("agents", "input"): "the prompt owns its input: declare the fields there, and give values on the node",
    ("nodes", "output"): "the prompt, tool or form owns the result: declare the fields there",
    ("nodes", "model"): "declare an agent and write agent: NAME",
    ("nodes", "prompt"): "declare an agent and write agent: NAME",
}
_LATER = {
    "agents": ("memory", "planner", "policies", "concurrency", "output_retries", "stream"),
    "nodes": ("optional", "rollback_to", "budget", "output_retries", "stream", "quorum"),
    "guardrails": ("scope",),
    "budget": ("steps", "wall_time", "period"),
    "graph": ("triggers", "policies", "memory", "tests"),
}
_WANTED = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def read_graph(text: str | bytes, file: str) -> AgentGraph:
    """The graph that a YAML (or JSON) text holds; `file` names it in complaints. Raises Complaints or BadFile."""
    source = read_yaml(text, file)
    if not isinstance(source.value, dict):
        raise BadFile("a graph file is a mapping", at=source.marks.at(()), do="begin with: graph: NAME")
    faults = Faults(source.marks)
    graph = _shape(source.value, faults)
    declared = {
        "input": read_fields(source.value.get("input"), ("input",), faults),
        "output": _output(source.value.get("output"), faults),
        "state": _state(source.value.get("state"), faults),
        "edges": read_edges(source.value.get("edges"), ("edges",), faults),
        "places": source.marks,
    }
    faults.raise_any()
    assert graph is not None
    return graph.model_copy(update=declared)


def _shape(raw: dict[str, Json], faults: Faults) -> AgentGraph | None:
    rest = {key: value for key, value in raw.items() if key not in _OWN}
    try:
        return AgentGraph.model_validate_json(json.dumps(rest))
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=True):
            _complain(detail, raw, faults)
        return None


def _complain(detail: ErrorDetails, raw: Json, faults: Faults) -> None:
    path = _path(detail["loc"], raw)
    if detail["type"] == "extra_forbidden":
        _unknown_key(path, faults)
    elif detail["type"] == "missing":
        faults(path[:-1], f"{_named(path[:-1])} needs {str(path[-1])!r}")
    elif detail["type"] == "literal_error":
        faults(path, f"{_named(path)} must be {detail['ctx']['expected']}")
    else:
        faults(path, f"{_named(path)} {_WANTED.get(detail['type'], 'has the wrong type or value')}")


def _path(loc: tuple[int | str, ...], raw: Json) -> Path:
    """The place inside the file: pydantic also names the members of unions, which the file does not have."""
    path: list[int | str] = []
    value = raw
    for index, part in enumerate(loc):
        if isinstance(value, dict) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif index < len(loc) - 1 or not isinstance(value, dict):
            continue
        path.append(part)
    return tuple(path)


def _unknown_key(path: Path, faults: Faults) -> None:
    key, where = str(path[-1]), _section(path)
    if (where, key) in _INSTEAD:
        faults(path, f"{_named(path[:-1])} may not have {key!r}", _INSTEAD[where, key])
    elif key in _LATER.get(where, ()):
        faults(path, f"{key!r} is not in this version", f"leave it out of {_named(path[:-1])}")
    else:
        known = (name for name in _keys_at(path[:-1]) if name != "places")
        faults(path, f"{_named(path[:-1])} has no key {key!r}", nearest(key, known))


def _section(path: Path) -> str:
    if len(path) == 1:
        return "graph"
    return "budget" if "budget" in path[1:-1] else str(path[0])


def _named(path: Path) -> str:
    """How a complaint calls the thing at `path`."""
    kinds = {"agents": "agent", "nodes": "node"}
    if not path:
        return "the graph"
    if len(path) >= 2 and path[0] in kinds:
        inner = ".".join(str(part) for part in path[2:])
        return f"{kinds[str(path[0])]} {str(path[1])!r}" + (f", {inner!r}" if inner else "")
    return repr(".".join(str(part) for part in path))


def _keys_at(path: Path) -> list[str]:
    """The keys that the model at `path` knows."""
    kind: Any = AgentGraph
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation if str(part) in kind.model_fields else None
        else:
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
        kind = next((arm for arm in get_args(kind) if _is_model(arm)), kind) if get_origin(kind) is not dict else kind
    return list(kind.model_fields) if _is_model(kind) else []


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


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
