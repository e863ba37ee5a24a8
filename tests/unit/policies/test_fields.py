"""Values are held against declared fields without casts, and every problem is named."""

from __future__ import annotations

import time

import jsonschema_rs
import pytest

from vertebra.policies.declared import read_fields
from vertebra.policies.fields import check_fields, inspect_fields
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput, Complaints
from vertebra.schemas.fields import Field, fields_of, fields_text, to_json_schema
from vertebra.schemas.places import ComplaintList, Unplaced


def string_with(rule: Json) -> Json:
    return {"a": {"type": "string", "validators": [rule]}}


def integer_with(rule: Json) -> Json:
    return {"a": {"type": "integer", "validators": [rule]}}


def declare(raw: Json) -> dict[str, Field]:
    complain = ComplaintList(Unplaced("input"))
    fields = read_fields(raw, (), complain)
    complain.raise_any()
    return fields


RAW: Json = {
    "ticket": {"type": "string", "required": True, "validators": [{"type": "max_length", "value": 20}]},
    "count": {"type": "integer", "validators": [{"type": "range", "value": [1, 5]}]},
    "score": {"type": "float", "default": 0.5},
    "urgent": {"type": "boolean"},
    "kind": {"type": "enum", "values": ["billing", "spam"]},
    "tags": {
        "type": "list",
        "item_type": "string",
        "validators": [{"type": "min_length", "value": 1, "message": "Name at least one tag"}],
    },
    "people": {"type": "list", "item_type": {"type": "dict", "fields": {"name": {"type": "string", "required": True}}}},
    "code": {"type": "string", "validators": [{"type": "regex", "value": "^(a+)+$"}]},
    "free": {"type": "dict"},
}
FIELDS = declare(RAW)


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({}, ["ticket: is required"]),
        ({"ticket": None}, ["ticket: is required, not null"]),
        ({"ticket": 5}, ["ticket: must be a string, not an integer"]),
        ({"ticket": "x" * 21}, ["ticket: must have at most 20 characters, has 21"]),
        ({"ticket": "x", "count": "5"}, ["count: must be an integer, not a string"]),
        ({"ticket": "x", "count": True}, ["count: must be an integer, not a boolean"]),
        ({"ticket": "x", "count": 5.0}, ["count: must be an integer, not a float"]),
        ({"ticket": "x", "count": 6}, ["count: must be between 1 and 5"]),
        ({"ticket": "x", "score": True}, ["score: must be a number, not a boolean"]),
        ({"ticket": "x", "score": 2**60}, ["score: must be a number, not an integer"]),
        ({"ticket": "x", "urgent": 1}, ["urgent: must be true or false, not an integer"]),
        ({"ticket": "x", "kind": "bill"}, ["kind: must be one of billing, spam"]),
        ({"ticket": "x", "kind": 1}, ["kind: must be one of billing, spam, not an integer"]),
        ({"ticket": "x", "tags": []}, ["tags: Name at least one tag"]),
        ({"ticket": "x", "tags": ["a", 1, None]}, ["tags[1]: must be a string", "tags[2]: must be a string, not null"]),
        ({"ticket": "x", "people": [{"name": "a"}, {}]}, ["people[1].name: is required"]),
        ({"ticket": "x", "people": {"name": "a"}}, ["people: must be a list, not an object"]),
        ({"ticket": "x", "tikcet": "y"}, ["tikcet: is not declared; did you mean 'ticket'?"]),
        ({"count": "1", "urgent": "no"}, ["ticket: is required", "count: must be", "urgent: must be"]),
        ([], ["the value: must be an object with the fields ticket"]),
        ("x", ["the value: must be an object with the fields ticket"]),
    ],
)
def test_every_problem_is_named(value: Json, problems: list[str]) -> None:
    """A bad value gives all of its problems at once, each with its path."""
    with pytest.raises(BadInput) as caught:
        check_fields(FIELDS, value, "input of graph 'x'")

    assert str(caught.value).startswith("input of graph 'x': ")
    assert len(problems) == len(caught.value.problems)
    for problem in problems:
        assert problem in str(caught.value)


def test_a_good_value_comes_back_with_defaults() -> None:
    """Defaults are filled in, null in an optional field is absent, a whole number in a float field is that float."""
    checked = check_fields(FIELDS, {"ticket": "x", "score": 1, "count": None, "free": {"a": [1]}}, "input")

    assert {"ticket": "x", "score": 1.0, "free": {"a": [1]}} == checked
    assert isinstance(checked["score"], float)
    assert {"ticket": "x", "score": 0.5} == check_fields(FIELDS, {"ticket": "x"}, "input")


def test_a_catastrophic_pattern_takes_linear_time() -> None:
    """The expression on which backtracking engines hang answers at once."""
    start = time.process_time()

    _, problems = inspect_fields(FIELDS, {"ticket": "x", "code": "a" * 100_000 + "!"})

    assert ["code: must match ^(a+)+$"] == [str(problem) for problem in problems]
    assert 1 > time.process_time() - start


def test_fields_survive_their_text() -> None:
    """The stored text gives the same fields, and `fields:` around them changes nothing."""
    assert FIELDS == fields_of(fields_text(FIELDS))
    assert FIELDS == declare({"fields": RAW})
    assert ["fields"] == list(declare({"fields": {"type": "string"}}))


@pytest.mark.parametrize(
    "value",
    [
        {"ticket": "x"},
        {"ticket": "x", "count": 3, "score": 1.5, "urgent": True, "kind": "spam"},
        {"ticket": "x", "tags": ["a"], "people": [{"name": "b"}]},
        {},
        {"ticket": "x" * 21},
        {"ticket": "x", "count": 9},
        {"ticket": "x", "tags": []},
        {"ticket": "x", "kind": "other"},
        {"ticket": "x", "people": [{}]},
        {"ticket": "x", "other": 1},
        {"ticket": "x", "code": "b"},
    ],
)
def test_the_json_schema_agrees(value: Json) -> None:
    """The JSON Schema given to providers accepts and refuses the same values."""
    schema = jsonschema_rs.Draft202012Validator(to_json_schema(FIELDS))

    assert schema.is_valid(value) == (not inspect_fields(FIELDS, value)[1])


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ([], "must be a mapping of field names"),
        ({"a": "string"}, "input.a: a field's type is a mapping; write: {type: string}"),
        ({"a": {}}, "input.a: the field has no type"),
        ({"a": {"type": "strin"}}, "input.a.type: unknown type 'strin'; did you mean 'string'?"),
        ({"a": {"type": ["string"]}}, "unknown type ['string']"),
        ({"a": {"type": "string", "requird": True}}, "has no key 'requird'; did you mean 'required'?"),
        ({"a": {"type": "string", "required": "yes"}}, "required must be true or false"),
        ({"a": {"type": "string", "values": ["b"]}}, "a field of type string has no key 'values'"),
        ({"a": {"type": "enum"}}, "an enum needs its values"),
        ({"a": {"type": "enum", "values": [1, "b"]}}, "the values of an enum are different texts"),
        ({"a": {"type": "list", "item_type": "strin"}}, "input.a.item_type.type: unknown type 'strin'"),
        ({"a": {"type": "dict", "fields": {"b": {"type": "x"}}}}, "input.a.fields.b.type: unknown type 'x'"),
        ({"a-b": {"type": "string"}}, "'a-b' is no field name"),
        ({"a": {"type": "integer", "default": "1"}}, "input.a.default: the default breaks its own type"),
        (integer_with({"type": "regex", "value": "a"}), "regex does not fit a field of type integer"),
        (string_with({"type": "regex", "value": "(?=a)"}), "the regular expression cannot be used"),
        (string_with({"type": "regex", "value": "("}), "the regular expression cannot be used"),
        (string_with({"type": "min_length", "value": -1}), "a whole number from 0 on"),
        (integer_with({"type": "range", "value": [5, 1]}), "the value of range is [low, high]"),
        (string_with({"type": "custom", "value": "f"}), "unknown validator 'custom'"),
        ({"a": {"type": "string", "validators": {"type": "regex"}}}, "validators must be a list"),
        (string_with({"type": "regex", "value": "a", "mesage": "b"}), "did you mean 'message'?"),
    ],
)
def test_a_bad_declaration_is_told_by_place(raw: Json, complaint: str) -> None:
    """Each mistake of a declaration names its place and what to write."""
    with pytest.raises(Complaints) as caught:
        declare(raw)

    assert complaint in str(caught.value)


def test_all_bad_declarations_are_told_at_once() -> None:
    """One mistake does not hide the next."""
    with pytest.raises(Complaints) as caught:
        declare({"a": {"type": "x"}, "b": {"type": "string", "requird": 1, "default": 3}, "c": {"type": "string"}})

    assert 2 == len(caught.value.complaints)
