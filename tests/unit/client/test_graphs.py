"""What is published is whole: every text that a graph pins comes with it."""

from __future__ import annotations

import pytest

from vertebra.client.graphs import PinnedText, _check_texts
from vertebra.compiler import Catalogue, compile_graph, read_graph
from vertebra.schemas.canonical import canonical_bytes, digest_of
from vertebra.schemas.errors import NotFound
from vertebra.schemas.tool import ToolSpec

TEXT = "def choose():\n    return 'next'\n"
WEIGHS = "def weigh():\n    return 5\n"
SPEC = ToolSpec(
    name="weigh",
    description="Weighs.",
    input_schema={"type": "object"},
    output_schema={},
    effect="pure",
    runs="sandbox",
    timeout_s=5,
    permissions=("execute_tools",),
    function="weigh",
    source=digest_of(WEIGHS.encode()),
)
GRAPH = """
graph: routed
version: 1.0.0
spine: {permissions: [execute_tools], tools: [weigh], expires_in: 1h}
nodes:
  route: {type: router, function: "routes.py:choose"}
  next: {type: tool, tool: weigh}
edges:
  - route -> next
"""
PINNED = {
    "the tool": PinnedText("tool", canonical_bytes(SPEC.canonical)),
    "the tool's file": PinnedText("source", WEIGHS.encode()),
    "the router's file": PinnedText("source", TEXT.encode()),
}


@pytest.mark.parametrize("left_out", [None, *PINNED])
def test_no_pinned_text_is_left_behind(left_out: str | None) -> None:
    """A run that finds a text missing would stand still long after whoever published it went home."""
    graph = compile_graph(read_graph(GRAPH, "routed.yaml"), Catalogue(files={"routes.py": TEXT}, tools={"weigh": SPEC}))
    texts = [text for name, text in PINNED.items() if name != left_out]

    if left_out is None:
        _check_texts(graph, texts)
        return
    with pytest.raises(NotFound, match="was not given"):
        _check_texts(graph, texts)
