"""Only values that can be hashed, stored and compared come out of JSON text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertebra.boundary.strict_json import check_value, read_json
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadJson
from vertebra.schemas.strict_json import _no_duplicates

CLEAN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
SCALARS = (
    st.none()
    | st.booleans()
    | CLEAN_TEXT
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(CLEAN_TEXT, inner, max_size=5)
)

POISON = [
    ('{"a": "\\u0000"}', "$.a: the text holds a NUL"),
    ('{"\\u0000": 1}', "a key: the text holds a NUL"),
    ('["\\ud800"]', "$[0]: the text holds half a surrogate"),
    ('"\ud800"', "no valid UTF-8"),
    (b'"\xed\xa0\x80"', "no valid UTF-8"),
    (b'"\xff"', "no valid UTF-8"),
    ("NaN", "NaN is no JSON number"),
    ('{"a": Infinity}', "Infinity is no JSON number"),
    ("[-Infinity]", "-Infinity is no JSON number"),
    ('{"a": [1e400]}', "$.a[0]: the number is not finite"),
    ('{"a": 9007199254740992}', "$.a: the integer is not below 2^53"),
    ("1" * 5000, "xceeds the limit"),
    ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
    ('{"x": {"a": 1, "a": 1}}', "the key 'a' stands twice"),
    ("[" * 50_000 + "]" * 50_000, "nested deeper than 64"),
    ('{"a":' * 65 + "1" + "}" * 65, "nested deeper than 64"),
    ('"' + "x" * 3_000_000 + '"', "larger than 1000000 bytes"),
    ('"' + "ä" * 600_000 + '"', "larger than 1000000 bytes"),
    ("", "no JSON"),
    (" ", "no JSON"),
    ("{'a': 1}", "no JSON"),
    ("{} {}", "Extra data"),
    ('{"a": 1,}', "no JSON"),
    ('"a\nb"', "Invalid control character"),
    ("\ufeff{}", "no JSON"),
]


@pytest.mark.parametrize(("text", "reason"), POISON)
def test_poison_is_refused_by_place(text: str | bytes, reason: str) -> None:
    """Each text that Python's reader would take, or break on, gives one error that names the place."""
    with pytest.raises(BadJson) as caught:
        read_json(text)

    assert reason in str(caught.value)


@given(VALUES)
def test_what_is_written_is_read_back(value: Json) -> None:
    """Every clean value survives, whether its text is escaped or not."""
    assert value == read_json(json.dumps(value))
    assert value == read_json(json.dumps(value, ensure_ascii=False).encode())
    assert value == check_value(value)


@given(st.text(st.sampled_from('[]{}",:0123456789.eE+-ntrufalse\\ \n'), max_size=60))
def test_nothing_is_read_that_python_does_not_read(text: str) -> None:
    """A text gives a value that Python reads too, or BadJson, and nothing else."""
    try:
        value = read_json(text)
    except BadJson:
        return
    assert json.loads(text) == value


def test_sixty_four_levels_are_allowed() -> None:
    """The limit counts lists and objects."""
    assert isinstance(read_json("[" * 64 + "1" + "]" * 64), list)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": (1, 2)}, "value.a: a tuple is no JSON value"),
        ([{"b": datetime(2026, 1, 1, tzinfo=UTC)}], "value[0].b: a datetime is no JSON value"),
        ({"a": Decimal(1)}, "value.a: a Decimal is no JSON value"),
        ({1: "a"}, "value: the key 1 is no text"),
        ([float("nan")], "value[0]: the number is not finite"),
        ([b"x"], "value[0]: a bytes is no JSON value"),
    ],
)
def test_a_value_of_python_is_checked_too(value: object, reason: str) -> None:
    """What no JSON text could give is refused with its place."""
    with pytest.raises(BadJson) as caught:
        check_value(value, at="value")

    assert reason in str(caught.value)


def test_a_key_that_stands_twice_is_found_in_one_pass() -> None:
    """A key is compared with its equals only: among the keys of a large text that takes no longer than reading it."""
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    names = [Name(f"n{number}") for number in range(2000)]
    with pytest.raises(ValueError, match="'n1999' stands twice"):
        _no_duplicates([(name, 0) for name in (*names, Name("n1999"))])

    assert compared < 2 * len(names)
