"""Arguments and answers against the tool's schemas, hostile ones included."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vertebra.schemas.errors import BadArguments, BadTool, BadToolOutput
from vertebra.schemas.tool import ToolSpec
from vertebra.tools.checks import check_arguments, check_output, check_schemas


def spec(schema: dict[str, Any], **terms: Any) -> ToolSpec:
    return ToolSpec(
        name="demo", description="d", input_schema=schema, output_schema=schema, effect="pure", runs="worker", **terms
    )


NUMBER = spec({"type": "object", "properties": {"k": {"type": "integer"}}, "additionalProperties": False})


def test_a_fitting_value_passes_both_sides() -> None:
    """What the schema allows raises nothing."""
    check_arguments(NUMBER, {"k": 1})
    check_output(NUMBER, {"k": 1})


def test_a_wrong_value_is_named_by_its_place_and_not_quoted() -> None:
    """The message says where and which type is wanted, and does not repeat the value."""
    with pytest.raises(BadArguments, match=r"is not of type \"integer\" \(\['k'\]\)") as caught:
        check_arguments(NUMBER, {"k": "my secret"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {"k": float("nan")},
        {"k": float("inf")},
        {"other": "\ud800"},
        {"k": 10**5000},
        {1: 2},
        {"k": object()},
        "text",
        None,
        [],
    ],
)
def test_a_poison_value_is_bad_arguments(value: Any) -> None:
    """NaN, infinity, a lone surrogate, a huge number, odd keys and wrong types all end as BadArguments."""
    with pytest.raises(BadArguments):
        check_arguments(NUMBER, value)


def test_deep_nesting_is_bad_arguments() -> None:
    """50,000 levels neither crash nor pass."""
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]

    with pytest.raises(BadArguments):
        check_arguments(spec({}), deep)


def test_an_answer_over_one_megabyte_is_refused() -> None:
    """The size of an answer is bounded whatever its schema allows."""
    with pytest.raises(BadToolOutput, match="exceed the limit"):
        check_output(spec({}), "x" * 1_000_001)


def test_a_hostile_pattern_takes_no_time() -> None:
    """The pattern that hangs a backtracking engine is answered at once."""
    begun = time.process_time()

    with pytest.raises(BadArguments):
        check_arguments(spec({"pattern": "^(a+)+$"}), "a" * 50_000 + "b")

    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "schema", [{"$ref": "http://127.0.0.1:1/x"}, {"type": "objekt"}, {"$ref": "file:///etc/passwd"}]
)
def test_a_schema_that_points_outside_is_refused(schema: dict[str, Any]) -> None:
    """Schemas are compiled offline: a remote or broken one is BadTool."""
    with pytest.raises(BadTool, match="input schema is wrong"):
        check_schemas(spec(schema))
