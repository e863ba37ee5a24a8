"""The spans of a run from its entries alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests import make
from vertebra.schemas.graph import HttpCall, Node, Router
from vertebra.workers.telemetry.trace import Fact, Span, Story, spans

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FETCH = Node(id="work", type="http", http=HttpCall(method="POST", address="https://a.example.org/{0}"))
CHOOSE = Node(id="work", type="router", router=Router(function="tools/ways.py:choose"))


def _told(node: Node, operation: str) -> list[Span]:
    """What a run of one node tells whose only call is such an operation."""
    call = {"node": "work", "visit": 1, "call": "c1", "attempt": 1}
    entries: list[dict[str, object]] = [
        {"operation": "run_start", "phase": "event"},
        {"operation": operation, "phase": "intent", **call},
        {"operation": operation, "phase": "outcome", **call, "outcome": "done", "success": True},
        {"operation": "edge_taken", "phase": "event", "node": "work", "visit": 1},
        {"operation": "run_end", "phase": "event", "outcome": "completed"},
    ]
    facts = [
        Fact(seq, {"time": (BEGAN + timedelta(seconds=seq)).isoformat(), **entry})
        for seq, entry in enumerate(entries, start=1)
    ]
    return spans(Story("run", make.graph([node]), "run", facts))


@pytest.mark.parametrize(
    ("node", "operation", "name", "attribute"),
    [
        (FETCH, "http_request", "POST", ("http.request.method", "POST")),
        (CHOOSE, "code_execution", "function tools/ways.py:choose", ("code.function.name", "tools/ways.py:choose")),
    ],
)
def test_requests_and_functions_have_spans_below_their_visit(
    node: Node, operation: str, name: str, attribute: tuple[str, str]
) -> None:
    """An attempt at either is a span from its intent to its outcome, and says nothing of what went out."""
    attempt, visit, run = _told(node, operation)

    assert (name, visit.id, run.id) == (attempt.name, attempt.parent, visit.parent)
    assert timedelta(seconds=1) == attempt.ended_at - attempt.started_at
    assert attribute[1] == attempt.attributes[attribute[0]]
    assert "example.org" not in str(attempt.attributes)


def test_the_same_entries_tell_the_same_spans() -> None:
    """Ids included: what is told again is the same span."""
    assert _told(FETCH, "http_request") == _told(FETCH, "http_request")
