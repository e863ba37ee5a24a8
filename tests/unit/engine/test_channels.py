"""Reducers: what a channel holds after a write, whatever was there before."""

from __future__ import annotations

import json

import pytest

from tests.make import channel, graph, llm
from tests.unit.engine.drive import Drive
from vertebra.engine.channels import reduced
from vertebra.engine.values import ABSENT, Found
from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import Reducer


@pytest.mark.parametrize(
    ("reducer", "old", "new", "after"),
    [
        ("replace", "a", "b", "b"),
        ("append", ABSENT, [1], [[1]]),
        ("append", ["a"], "b", ["a", "b"]),
        ("merge", {"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("merge", ABSENT, {"b": 2}, {"b": 2}),
        ("sum", 1, 2.5, 3.5),
        ("sum", ABSENT, 2, 2),
        ("sum", 1e308, 1e308, 1.7976931348623157e308),
        ("sum", 10**400, 0.5, 1.7976931348623157e308),
        ("sum", -(10**400), 0.5, -1.7976931348623157e308),
        ("max", 1, 2.5, 2.5),
        ("max", "b", "a", "b"),
        ("max", ABSENT, 0, 0),
        ("max", "b", 1, 1),
        ("sum", True, 1, 1),
    ],
    ids=lambda value: str(value)[:20],
)
def test_reducers(reducer: Reducer, old: Found, new: Json, after: Json) -> None:
    """Each reducer is total, and what it gives is JSON."""
    assert after == reduced(reducer, old, new)
    json.dumps(reduced(reducer, old, new), allow_nan=False)


def test_a_merge_checks_the_merged_object() -> None:
    """An item that is no object does not fit."""
    run = Drive(graph([llm("a", write={"s": "y"})], state={"s": channel("dict", "merge")}))
    run.done("a#1.1", "text")

    assert [("a#1", "WrongType")] == run.blocked


def test_a_field_that_the_result_lacks_blocks() -> None:
    """A required write names the channel and the field."""
    run = Drive(graph([llm("a", write={"s": "z"})], state={"s": channel()}))
    run.done("a#1.1", "text")

    assert [("a#1", "MissingValue")] == run.blocked


def test_retry_of_a_failed_write_writes_again() -> None:
    """The result is kept: nothing is called, and nothing has changed."""
    run = Drive(graph([llm("a", write={"s": "z"})], state={"s": channel()}))
    run.done("a#1.1", "text")
    run.answers("a#1", "retry")

    assert ([], [("a#1", "MissingValue")]) == (run.calls, run.blocked)


def test_a_large_result_cannot_be_written() -> None:
    """A channel holds values, not references."""
    run = Drive(graph([llm("a", write={"s": "y"})], state={"s": channel()}))
    run.done("a#1.1", None, ref=ArtifactRef(uri="a/1", sha256="00", size=1))

    assert [("a#1", "TooLarge")] == run.blocked
