"""The payload of an event, as it is read and checked before anybody signs it."""

from __future__ import annotations

import pytest

from tests.graphs.catalogue import graph_catalogue
from vertebra.cli.send import payload_for
from vertebra.compiler import compile_text
from vertebra.schemas.errors import BadInput

TEXT = """graph: g
version: 1.0.0
nodes:
  paid: {type: wait, event: paid, form: {amount: {type: float, required: true}, by: {type: string}}}
  free: {type: wait, event: free}
edges:
  - paid -> free
"""
GRAPH = compile_text(TEXT, "g.yaml", graph_catalogue())


def test_a_payload_is_read_by_the_form() -> None:
    """Numbers are numbers, texts stay texts."""
    assert {"amount": 12.5, "by": "7"} == payload_for(GRAPH, "paid", ["amount=12.50", "by=7"])


def test_without_a_form_everything_is_text() -> None:
    """Nobody said more about it."""
    assert {"x": "1"} == payload_for(GRAPH, "free", ["x=1"])
    assert {} == payload_for(GRAPH, "free", [])


@pytest.mark.parametrize(
    ("event", "given", "told"),
    [
        ("payd", [], "did you mean 'paid'"),
        ("paid", [], "amount: is required"),
        ("paid", ["amount=1.0", "more=1"], "there is no field 'more'"),
    ],
)
def test_what_does_not_fit_is_not_signed(event: str, given: list[str], told: str) -> None:
    """An unknown event, a missing field and one too many are told at once."""
    with pytest.raises(BadInput) as refused:
        payload_for(GRAPH, event, given)

    assert told in str(refused.value)
