"""Types of values: what fits where, and what JSON Schemas say."""

from __future__ import annotations

import pytest

from vertebra.compiler.types import Slot, fits, literal_field, schema_shape
from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import Field

TEXT, WHOLE, NUMBER, FLAG = (Field(type=kind) for kind in ("string", "integer", "float", "boolean"))
AB, BC, CD = (Field(type="enum", values=values) for values in (("a", "b"), ("b", "c"), ("c", "d")))
TEXTS, ANYS = Field(type="list", item_type=TEXT), Field(type="list")
POINT = Field(type="dict", fields={"x": Field(type="integer", required=True)})
SPACE = Field(type="dict", fields={name: Field(type="integer", required=True) for name in ("x", "y")})
OPEN = Field(type="dict")


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (TEXT, TEXT, True),
        (WHOLE, NUMBER, True),
        (NUMBER, WHOLE, False),
        (FLAG, WHOLE, False),
        (AB, TEXT, True),
        (TEXT, AB, True),
        (AB, BC, True),
        (AB, CD, False),
        (TEXTS, ANYS, True),
        (ANYS, TEXTS, True),
        (TEXTS, Field(type="list", item_type=WHOLE), False),
        (POINT, OPEN, True),
        (OPEN, POINT, True),
        (POINT, SPACE, False),
        (SPACE, POINT, False),
        (None, TEXT, True),
        (TEXT, None, True),
    ],
)
def test_what_fits_where(given: Field | None, wanted: Field | None, expected: bool) -> None:
    """Only what surely breaks at run time is refused."""
    assert expected == fits(given, wanted)


def test_a_schema_becomes_a_shape() -> None:
    """Objects, lists, enums and local references keep their types; what our types cannot say may be anything."""
    schema: dict[str, Json] = {
        "type": "object",
        "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
        "properties": {
            "name": {"type": "string"},
            "kind": {"type": "string", "enum": ["a", "b"]},
            "sizes": {"type": "array", "items": {"type": "number"}},
            "place": {"$ref": "#/$defs/Place"},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["name", "place"],
    }
    city = Field(type="dict", fields={"city": Field(type="string", required=True)})

    assert {
        "name": Slot(TEXT, True),
        "kind": Slot(AB, False),
        "sizes": Slot(Field(type="list", item_type=NUMBER), False),
        "place": Slot(city, True),
        "either": Slot(None, False),
    } == schema_shape(schema)


def test_a_schema_that_refers_to_itself_ends() -> None:
    """A recursive reference becomes any value at some depth."""
    node: Json = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}

    assert ["next"] == list(schema_shape({"$defs": {"Node": node}, "properties": {"next": {"$ref": "#/$defs/Node"}}}))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, FLAG),
        (1, WHOLE),
        (1.5, NUMBER),
        ("x", TEXT),
        (["x"], TEXTS),
        (["x", 1], ANYS),
        ([], ANYS),
        ({}, OPEN),
        ({"x": 1}, POINT),
        (None, None),
    ],
)
def test_the_type_of_a_literal(value: Json, expected: Field | None) -> None:
    """True is no integer, and a list has one item type or none."""
    assert expected == literal_field(value)
