"""The declarations of fields, as inputs, outputs, state and forms hold them (`vertebra.policies.declared`)."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.policies.declared import FITS, KEYS, OWN_KEYS, TYPES, VALIDATORS
from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import FIELD_NAME, FieldType

Schema = dict[str, Json]
ANY: Schema = {}


def declared(extra: Mapping[str, Json] | None = None) -> Schema:
    """A mapping of names to field types, `fields:` around it being optional; `extra` are keys that others read."""
    names: Schema = {
        "type": "object",
        "propertyNames": {"pattern": f"^{FIELD_NAME.pattern}$"},
        "additionalProperties": _field(extra or {}),
    }
    wrapped: Schema = {
        "type": "object",
        "properties": {"fields": names},
        "required": ["fields"],
        "additionalProperties": False,
    }
    return {"anyOf": [names, wrapped, {"type": "null"}]}


def definitions() -> Schema:
    """What `declared` refers to."""
    return {"validator": _validator(), "field": _field({})}


def _field(extra: Mapping[str, Json]) -> Schema:
    """One field; which keys it may have depends on its type."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": [*TYPES]}},
        "allOf": [_of_type(kind, extra) for kind in TYPES],
    }


def _of_type(kind: FieldType, extra: Mapping[str, Json]) -> Schema:
    known = (*KEYS, *OWN_KEYS.get(kind, ()))
    rules: Json = [rule for rule in VALIDATORS if kind in FITS[rule]]
    properties: dict[str, Json] = {name: _KEY_SCHEMAS[name] for name in known} | dict(extra)
    properties["validators"] = {
        "type": "array",
        "items": {"allOf": [{"$ref": "#/$defs/validator"}, {"properties": {"type": {"enum": rules}}}]},
    }
    then: Schema = {"properties": properties, "additionalProperties": False}
    if kind == "enum":
        then["required"] = ["values"]
    return {"if": {"properties": {"type": {"const": kind}}}, "then": then}


_KEY_SCHEMAS: Mapping[str, Json] = {
    "type": {"enum": [*TYPES], "description": "The type of the value."},
    "required": {"type": "boolean"},
    "default": {"description": "Stands in for an absent value; null is no default."},
    "description": {"type": ["string", "null"]},
    "validators": {"type": "array"},
    "values": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
    "item_type": {"anyOf": [{"enum": [*TYPES]}, {"$ref": "#/$defs/field"}, {"type": "null"}]},
    "fields": {
        "anyOf": [
            {
                "type": "object",
                "propertyNames": {"pattern": f"^{FIELD_NAME.pattern}$"},
                "additionalProperties": {"$ref": "#/$defs/field"},
            },
            {"type": "null"},
        ]
    },
}
_LENGTH: Json = {"type": "integer", "minimum": 0}
_VALUES: Mapping[str, Json] = {
    "min_length": _LENGTH,
    "max_length": _LENGTH,
    "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    "regex": {"type": "string", "maxLength": 1000},
}


def _validator() -> Schema:
    return {
        "type": "object",
        "required": ["type", "value"],
        "properties": {
            "type": {"enum": [*VALIDATORS]},
            "value": {"description": "A length, [low, high], or a regular expression."},
            "message": {"type": ["string", "null"]},
        },
        "additionalProperties": False,
        "allOf": [
            {"if": {"properties": {"type": {"const": rule}}}, "then": {"properties": {"value": _VALUES[rule]}}}
            for rule in VALIDATORS
        ],
    }
