"""Says in an author's words what a model refused: which key or value, where, and the nearest known key."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vertebra.policies.fields import nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.places import Complain, Path

_INSTEAD = {
    ("agents", "output"): "the prompt owns the output schema: declare the fields there",
    ("agents", "input"): "the prompt owns its input: declare the fields there, and give values on the node",
    ("nodes", "output"): "the prompt, tool or form owns the result: declare the fields there",
    ("nodes", "model"): "declare an agent and write agent: NAME",
    ("nodes", "prompt"): "declare an agent and write agent: NAME",
}
_LATER = {
    "agents": ("memory", "planner", "policies", "concurrency", "output_retries", "stream"),
    "nodes": ("rollback_to", "budget", "output_retries", "stream", "quorum"),
    "guardrails": ("scope",),
    "budget": ("steps", "wall_time", "period"),
    "graph": ("triggers", "policies", "memory", "tests"),
}
WANTED = {
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


def explain(error: ValidationError, raw: Json, kind: type[BaseModel], complain: Complain, above: Path = ()) -> None:
    """Turn a model's refusal of `raw`, which stands at `above` in its file, into complaints."""
    for detail in error.errors(include_url=False, include_context=True):
        _explain(detail, raw, kind, complain, above)


def _explain(detail: ErrorDetails, raw: Json, kind: type[BaseModel], complain: Complain, above: Path) -> None:
    path = (*above, *path_in(detail, raw))
    if detail["type"] == "extra_forbidden":
        unknown_key(path, kind, complain, above)
    elif detail["type"] == "missing":
        complain(path[:-1], f"{_named(path[:-1])} needs {str(path[-1])!r}")
    elif detail["type"] == "literal_error":
        complain(path, f"{_named(path)} must be {detail['ctx']['expected']}")
    elif path == ("version",):
        complain(path, "the version must be a text of three numbers", "write version: 1.0.0")
    else:
        complain(path, f"{_named(path)} {WANTED.get(detail['type'], 'has the wrong type or value')}")


def path_in(detail: ErrorDetails, raw: Json) -> Path:
    """The place inside the file: pydantic also names the members of unions, which the file does not have."""
    path: list[int | str] = []
    value = raw
    for index, part in enumerate(detail["loc"]):
        if isinstance(value, dict) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif detail["type"] != "missing" or index < len(detail["loc"]) - 1:
            continue
        path.append(part)
    return tuple(path)


def unknown_key(path: Path, kind: type[BaseModel], complain: Complain, above: Path = ()) -> None:
    """Complain about a key that the model does not have: the nearest one, or that it comes later."""
    key, where = str(path[-1]), _section(path)
    if (where, key) in _INSTEAD:
        complain(path, f"{_named(path[:-1])} may not have {key!r}", _INSTEAD[where, key])
    elif key in _LATER.get(where, ()):
        complain(path, f"{key!r} is not in this version", f"leave it out of {_named(path[:-1])}")
    else:
        known = (name for name in keys_at(kind, path[len(above) : -1]) if name != "places")
        complain(path, f"{_named(path[:-1])} has no key {key!r}", nearest(key, known))


def _section(path: Path) -> str:
    if len(path) == 1:
        return "graph"
    return "budget" if "budget" in path[1:-1] else str(path[0])


def _named(path: Path) -> str:
    """How a complaint calls the thing at `path`."""
    kinds = {"agents": "agent", "nodes": "node"}
    if not path:
        return "the graph"
    if isinstance(path[0], int):
        return f"line {path[0] + 1}" + (f", {str(path[1])!r}" if len(path) > 1 else "")
    if len(path) >= 2 and path[0] in kinds:
        inner = ".".join(str(part) for part in path[2:])
        return f"{kinds[str(path[0])]} {str(path[1])!r}" + (f", {inner!r}" if inner else "")
    if len(path) >= 2 and path[0] == "guardrails" and isinstance(path[1], int):
        return f"guardrail {path[1] + 1}" + (f", {str(path[2])!r}" if len(path) > 2 else "")
    return repr(".".join(str(part) for part in path))


def keys_at(top: type[BaseModel], path: Path) -> list[str]:
    """The keys that the model at `path` knows."""
    kind: Any = top
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation if str(part) in kind.model_fields else None
        else:
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
        kind = next((arm for arm in get_args(kind) if _is_model(arm)), kind) if get_origin(kind) is not dict else kind
    return [field.alias or name for name, field in kind.model_fields.items()] if _is_model(kind) else []


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
