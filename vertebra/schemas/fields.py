"""The types of inputs, outputs, state and forms, as prompts, graphs and approval forms declare them.

They are stored as JSON text (`fields_text`), because defaults and ranges may hold floats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import JsonValue, TypeAdapter

from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.record import Authored

FieldType = Literal["string", "integer", "float", "boolean", "list", "dict", "enum"]
ValidatorType = Literal["min_length", "max_length", "range", "regex"]
FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class Validator(Authored):
    """One rule beyond the type. (`custom`, a registered function, is not offered yet.)"""

    type: ValidatorType
    value: JsonValue
    """A length, `[low, high]`, or a regular expression (linear engine: no look-around, no back-reference)."""
    message: str | None = None
    """What the person or the model reads instead of our own words."""


class Field(Authored):
    """The type of one value."""

    type: FieldType
    required: bool = False
    default: JsonValue = None
    """Stands in for an absent value; None is no default."""
    description: str | None = None
    values: tuple[str, ...] = ()
    """The choices of an `enum`."""
    item_type: Field | None = None
    """The type of each item of a `list`; None takes any."""
    fields: dict[str, Field] | None = None
    """The fields of a `dict`; None takes any object."""
    validators: tuple[Validator, ...] = ()


Fields: TypeAlias = Mapping[str, Field]
_FIELDS = TypeAdapter(dict[str, Field])


def fields_text(fields: Fields) -> str:
    """The one JSON text of some fields: what is stored, hashed and read back."""
    return json_text({name: field.model_dump(mode="json", exclude_defaults=True) for name, field in fields.items()})


def fields_of(text: str) -> dict[str, Field]:
    """The fields of such a text, which was checked before it was stored."""
    return _FIELDS.validate_json(text)


def to_json_schema(fields: Fields) -> dict[str, Json]:
    """The JSON Schema (2020-12) of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": {name: _schema(field) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
        "additionalProperties": False,
    }


_PLAIN: dict[FieldType, Json] = {"string": "string", "integer": "integer", "float": "number", "boolean": "boolean"}


def _schema(field: Field) -> Json:
    schema = _typed(field)
    if field.description is not None:
        schema["description"] = field.description
    for validator in field.validators:
        schema.update(_limit(field, validator))
    return schema


def _typed(field: Field) -> dict[str, Json]:
    if field.type == "enum":
        return {"type": "string", "enum": list(field.values)}
    if field.type == "list":
        items: Json = {} if field.item_type is None else _schema(field.item_type)
        return {"type": "array", "items": items}
    if field.type == "dict":
        return {"type": "object"} if field.fields is None else to_json_schema(field.fields)
    return {"type": _PLAIN[field.type]}


def _limit(field: Field, validator: Validator) -> dict[str, Json]:
    if validator.type == "regex":
        return {"pattern": validator.value}
    if validator.type == "range":
        assert isinstance(validator.value, list)
        return {"minimum": validator.value[0], "maximum": validator.value[1]}
    side = "min" if validator.type == "min_length" else "max"
    return {f"{side}{'Items' if field.type == 'list' else 'Length'}": validator.value}
