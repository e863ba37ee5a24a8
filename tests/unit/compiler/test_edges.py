"""The lines of `edges`."""

from __future__ import annotations

import pytest

from vertebra.compiler.edges import read_edges
from vertebra.schemas.authored import EdgeLine
from vertebra.schemas.canonical import Json
from vertebra.schemas.places import ComplaintList, Unplaced


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a -> b", EdgeLine(sources=("a",), targets=("b",))),
        ("a->b ,c", EdgeLine(sources=("a",), targets=("b", "c"))),
        ({"b, c -> d": {"join": "all"}}, EdgeLine(sources=("b", "c"), targets=("d",), join="all")),
        ({"b, c -> d": {"join": 2}}, EdgeLine(sources=("b", "c"), targets=("d",), join="2")),
        ({"a -> b": {"when": "a.x"}}, EdgeLine(sources=("a",), targets=("b",), when="a.x")),
        ({"a -> end": {"else": True}}, EdgeLine(sources=("a",), targets=("end",), otherwise=True)),
        (
            {"a -> b": {"parallel": True, "when": "a.x"}},
            EdgeLine(sources=("a",), targets=("b",), when="a.x", parallel=True),
        ),
    ],
)
def test_each_form_of_a_line_is_read(raw: Json, expected: EdgeLine) -> None:
    """Every form that the language names gives its parts."""
    complain = ComplaintList(Unplaced("g"))

    assert (expected,) == read_edges([raw], ("edges",), complain)
    assert [] == complain.found


@pytest.mark.parametrize("raw", ["a", "a -> b -> c", "-> b", "a ->", "a, -> b", "a -> b c", 3, None, {}, {"a -> b": 3}])
def test_other_lines_are_no_edges(raw: Json) -> None:
    """A line that is no edge is complained about, with the forms that there are."""
    complain = ComplaintList(Unplaced("g"))

    assert () == read_edges([raw], ("edges",), complain)
    assert "write 'a -> b'" in str(complain.found[0])


def test_edges_that_are_no_list_are_refused() -> None:
    """`edges: a -> b` is told to be a list."""
    complain = ComplaintList(Unplaced("g"))

    assert () == read_edges("a -> b", ("edges",), complain)
    assert "edges are a list" in str(complain.found[0])
