"""The permission element: what a call may use, by rows and pins alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.workers.gate.asked import NOTHING, NOW, call
from vertebra.schemas.context import Grant
from vertebra.workers.gate import permission
from vertebra.workers.gate.element import Denied, GateCall, Seen

PIN, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def _pinned(compiled: str, offered: str) -> GateCall:
    """A call whose graph was compiled against one definition, on a worker that offers perhaps another."""
    asked = call({"to": "a@example.org"})
    return replace(
        asked,
        graph=asked.graph.model_copy(update={"tools": {"send_email": compiled}}),
        prepared=asked.prepared.model_copy(update={"tool_pin": offered}),
    )


def _granted() -> Seen:
    line = {"grant": Grant(tools=("send_email",)).model_dump_json().encode(), "revoked": None}
    run = {"now": NOW, "principal": "svc", "principal_revoked": False}
    return Seen(rows={"context": [[run], [line]], "permission": [[]]})


def test_the_tool_that_the_graph_was_compiled_against_passes() -> None:
    """The same definition, by digest."""
    assert permission.judge(_pinned(PIN, PIN), _granted(), NOTHING) is None


@pytest.mark.parametrize("compiled", [PIN, ""])
def test_a_tool_that_changed_after_publishing_is_refused(compiled: str) -> None:
    """A worker with another definition of a tool makes no call for a graph that pins the old one, or none."""
    verdict = permission.judge(_pinned(compiled, OTHER), _granted(), NOTHING)

    assert isinstance(verdict, Denied)
    assert ("permission", "ToolDrift", "publish the graph anew") == (verdict.by, verdict.error.type, verdict.error.do)
