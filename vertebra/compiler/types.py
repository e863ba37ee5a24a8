"""The types of values by path: what the input, the state and each node's result hold, and what fits where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import Field, Fields, FieldType

_DEPTH = 16
_PLAIN: dict[str, FieldType] = {"string": "string", "integer": "integer", "number": "float", "boolean": "boolean"}


@dataclass(frozen=True)
class Slot:
    """A named value: its type (None = any), and whether it is there whenever the thing that holds it is."""

    field: Field | None
    sure: bool


Shape: TypeAlias = Mapping[str, Slot]

ERROR: Shape = {
    **{name: Slot(Field(type="string"), True) for name in ("type", "message", "node")},
    **{name: Slot(Field(type="integer"), True) for name in ("visit", "attempts")},
}
"""What a node reached by `on_error` reads under `error`."""


def shape(fields: Fields) -> Shape:
    """Fields as a shape: what is required or has a default is sure to be there."""
    return {name: Slot(field, field.required or field.default is not None) for name, field in fields.items()}


def schema_shape(schema: Mapping[str, Json]) -> Shape:
    """The properties of a JSON Schema of an object; nothing where it describes something else."""
    defs = schema.get("$defs")
    return _properties(schema, defs if isinstance(defs, dict) else {}, _DEPTH)


def _properties(schema: Mapping[str, Json], defs: Mapping[str, Json], depth: int) -> dict[str, Slot]:
    properties, required = schema.get("properties"), schema.get("required")
    names = required if isinstance(required, list) else []
    if not isinstance(properties, dict):
        return {}
    return {name: Slot(_field(inner, defs, depth), name in names) for name, inner in properties.items()}


def _field(schema: Json, defs: Mapping[str, Json], depth: int) -> Field | None:
    """The type that a JSON Schema stands for, or None where our types cannot say it."""
    if not isinstance(schema, dict) or depth == 0:
        return None
    if isinstance(ref := schema.get("$ref"), str):
        return _field(defs.get(ref.removeprefix("#/$defs/")), defs, depth - 1)
    kind, choices = schema.get("type"), schema.get("enum")
    if kind == "string" and isinstance(choices, list):
        return Field(type="enum", values=tuple(str(choice) for choice in choices))
    if kind == "array":
        return Field(type="list", item_type=_field(schema.get("items"), defs, depth - 1))
    if kind == "object":
        slots = _properties(schema, defs, depth - 1)
        known = {n: s.field.model_copy(update={"required": s.sure}) for n, s in slots.items() if s.field is not None}
        return Field(type="dict", fields=known if slots and len(known) == len(slots) else None)
    return Field(type=_PLAIN[kind]) if isinstance(kind, str) and kind in _PLAIN else None


def literal_field(value: Json) -> Field | None:
    """The type of a literal; None for null."""
    if isinstance(value, bool):
        return Field(type="boolean")
    if isinstance(value, int | float):
        return Field(type="integer" if isinstance(value, int) else "float")
    if isinstance(value, str):
        return Field(type="string")
    if isinstance(value, list):
        kinds = [literal_field(item) for item in value]
        return Field(type="list", item_type=kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else None)
    if isinstance(value, dict):
        inner = {name: field for name, item in value.items() if (field := literal_field(item)) is not None}
        sure = {name: field.model_copy(update={"required": True}) for name, field in inner.items()}
        return Field(type="dict", fields=sure if len(sure) == len(value) and value else None)
    return None


def named(field: Field | None) -> str:
    """A type in words."""
    if field is None:
        return "any value"
    if field.type == "list" and field.item_type is not None:
        return f"a list of {field.item_type.type}s" if field.item_type.type not in ("list", "dict") else "a list"
    return {"integer": "an integer", "enum": "an enum"}.get(field.type, f"a {field.type}")


def fits(given: Field | None, wanted: Field | None) -> bool:
    """Whether a value of the one type may go where the other is wanted; what only a run can tell may."""
    if given is None or wanted is None:
        return True
    if given.type != wanted.type:
        return (given.type, wanted.type) in (("integer", "float"), ("enum", "string"), ("string", "enum"))
    if given.type == "enum":
        return bool(set(given.values) & set(wanted.values))
    if given.type == "list":
        return fits(given.item_type, wanted.item_type)
    return given.type != "dict" or _dict_fits(given.fields, wanted.fields)


def _dict_fits(given: Fields | None, wanted: Fields | None) -> bool:
    if given is None or wanted is None:
        return True
    missing = [name for name, field in wanted.items() if field.required and name not in given]
    return not missing and all(name in wanted and fits(field, wanted[name]) for name, field in given.items())
