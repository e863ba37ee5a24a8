"""Whether a value fits the fields declared for it. Nothing is cast: "5" is no integer, true is no integer.

Two readings are allowed, because JSON has one kind of number and one way to say "nothing": a whole number in a `float`
field becomes that float, and null in an optional field is the same as leaving it out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import jsonschema_rs

from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.schemas.fields import Field, Fields, Validator
from vertebra.schemas.places import Path, dotted

_ABSENT = object()
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "an integer", float: "a float"}
_WANTED = {
    "string": "a string",
    "integer": "an integer",
    "float": "a number",
    "boolean": "true or false",
    "list": "a list",
    "dict": "an object",
    "enum": "one of the allowed texts",
}
_PYTHON: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "list": list, "dict": dict, "enum": str}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a value; the message never quotes the value itself."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}"


def check_fields(fields: Fields, value: Json, at: str) -> dict[str, Json]:
    """The value with defaults filled in. Raises BadInput, which lists all problems (also as `.problems`)."""
    checked, problems = inspect_fields(fields, value)
    if problems:
        raise BadInput("; ".join(str(problem) for problem in problems), at=at, problems=tuple(problems))
    return checked


def inspect_fields(fields: Fields, value: Json) -> tuple[dict[str, Json], list[Problem]]:
    """The value with defaults filled in, as far as it fits, and everything wrong with it."""
    problems: list[Problem] = []
    if not isinstance(value, dict):
        return {}, [Problem((), f"must be an object with the fields {', '.join(fields)}, not {_named(value)}")]
    return _object(fields, value, (), problems), problems


def inspect_field(field: Field, value: Json, path: Path = ()) -> list[Problem]:
    """Everything wrong with one present value."""
    problems: list[Problem] = []
    _value(field, value, path, problems)
    return problems


def matches(pattern: str, text: str) -> bool:
    """Whether a regular expression is found in the text, in time linear in it. Raises ValueError if it is none."""
    return _compiled(pattern).is_valid(text)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Advice that names the nearest known word, or all of them where none is near and they are few."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are: {', '.join(choices)}" if 0 < len(choices) <= 12 else None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"type": "string", "pattern": pattern}
    return jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())


def _named(value: Json) -> str:
    return "null" if value is None else _NAMES.get(type(value), "no JSON value")


def _object(fields: Fields, value: dict[str, Json], path: Path, problems: list[Problem]) -> dict[str, Json]:
    for name in value:
        if name not in fields:
            advice = nearest(name, fields)
            problems.append(Problem((*path, name), "is not declared" + (f"; {advice}" if advice else "")))
    found: dict[str, Json] = {}
    for name, field in fields.items():
        item = _present(field, value.get(name, _ABSENT), (*path, name), problems)
        if item is not _ABSENT:
            found[name] = item  # type: ignore[assignment]  # _ABSENT is the only value that is no Json
    return found


def _present(field: Field, value: object, path: Path, problems: list[Problem]) -> object:
    if value is _ABSENT or value is None:
        if field.default is not None:
            return _value(field, field.default, path, problems)
        if field.required:
            problems.append(Problem(path, "is required" if value is _ABSENT else "is required, not null"))
        return _ABSENT
    return _value(field, value, path, problems)  # type: ignore[arg-type]  # _ABSENT is handled above


def _value(field: Field, value: Json, path: Path, problems: list[Problem]) -> Json:
    if not _has_type(field, value):
        problems.append(Problem(path, f"must be {_wanted(field)}, not {_named(value)}"))
        return None
    if field.type == "float":
        assert isinstance(value, int | float)
        value = float(value)
    elif field.type == "list":
        assert isinstance(value, list)
        item_type = field.item_type
        if item_type is not None:
            value = [_value(item_type, item, (*path, index), problems) for index, item in enumerate(value)]
    elif field.type == "dict" and field.fields is not None:
        assert isinstance(value, dict)
        value = _object(field.fields, value, path, problems)
    elif field.type == "enum" and value not in field.values:
        problems.append(Problem(path, f"must be one of {', '.join(field.values)}"))
        return value
    problems.extend(Problem(path, fault) for rule in field.validators if (fault := _fault(rule, value)))
    return value


def _wanted(field: Field) -> str:
    return f"one of {', '.join(field.values)}" if field.type == "enum" else _WANTED[field.type]


def _has_type(field: Field, value: Json) -> bool:
    if field.type == "float":
        return type(value) is float or (type(value) is int and abs(value) < 2**53)
    return type(value) is _PYTHON[field.type]


def _fault(rule: Validator, value: Json) -> str | None:
    """The validator's own message, or ours, where the value breaks it."""
    ours = _broken(rule, value)
    return (rule.message or ours) if ours else None


def _broken(rule: Validator, value: Json) -> str | None:
    limit = rule.value
    if rule.type == "regex":
        assert isinstance(limit, str)
        return None if matches(limit, str(value)) else f"must match {limit}"
    if rule.type == "range":
        assert isinstance(limit, list)
        return None if limit[0] <= value <= limit[1] else f"must be between {limit[0]} and {limit[1]}"  # type: ignore[operator]  # numbers
    assert isinstance(limit, int)
    assert isinstance(value, str | list)
    unit = "items" if isinstance(value, list) else "characters"
    if rule.type == "min_length":
        return None if len(value) >= limit else f"must have at least {limit} {unit}, has {len(value)}"
    return None if len(value) <= limit else f"must have at most {limit} {unit}, has {len(value)}"
