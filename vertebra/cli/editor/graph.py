"""The schema of a graph file: the authored model, and the parts that have readers of their own."""

from __future__ import annotations

from typing import Any, get_args

from vertebra.cli.editor import fields, models
from vertebra.compiler.edges import NAME, OPTIONS
from vertebra.compiler.kinds import KINDS
from vertebra.compiler.nodes import COMMON_KEYS
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import Reducer


def schema() -> dict[str, Json]:
    """A graph as `vertebra check` reads it."""
    made: dict[str, Any] = models.of(AgentGraph)
    properties, parts = made["properties"], made["$defs"]
    for own in ("AuthoredOutput", "AuthoredChannel", "EdgeLine", "Field", "Validator"):
        parts.pop(own, None)
    parts.update(fields.definitions())
    parts["AuthoredNode"] = _node(parts["AuthoredNode"])
    properties.pop("places", None)
    properties["input"] = fields.declared()
    properties["output"] = fields.declared({"from": {"description": "A path, or {value: ...}."}})
    properties["state"] = fields.declared({"reduce": {"enum": [*get_args(Reducer)]}})
    properties["edges"] = {"anyOf": [{"type": "array", "items": _edge()}, {"type": "null"}]}
    return made


def _node(node: dict[str, Any]) -> dict[str, Json]:
    """A node has an agent or a type; which keys it may have depends on that."""
    node["anyOf"] = [{"required": ["agent"]}, {"required": ["type"]}]
    node["properties"]["type"] = {"enum": [*KINDS], "description": "What the node does; with agent: its agent's."}
    node["properties"]["form"] = fields.declared()
    node["allOf"] = [
        {
            "if": {"required": ["type"], "properties": {"type": {"const": name}}},
            "then": {"propertyNames": {"enum": sorted(kind.keys | COMMON_KEYS)}},
        }
        for name, kind in KINDS.items()
    ]
    return node


def _edge() -> dict[str, Json]:
    names = rf"\s*{NAME.pattern}\s*(,\s*{NAME.pattern}\s*)*"
    arrow = f"^{names}->{names}$"
    values: dict[str, Json] = {
        "else": {"const": True, "description": "Taken where no condition before it is true."},
        "join": {
            "type": ["string", "integer"],
            "description": "How many branches it waits for: all, any, or a number.",
        },
        "parallel": {"const": True, "description": "On a group: every true edge is taken."},
        "when": {"type": "string", "description": "A CEL condition."},
    }
    options: Json = {
        "type": "object",
        "properties": {name: values[name] for name in OPTIONS},
        "additionalProperties": False,
    }
    with_options: Json = {
        "type": "object",
        "propertyNames": {"pattern": arrow},
        "additionalProperties": options,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"type": "string", "pattern": arrow}, with_options]}
