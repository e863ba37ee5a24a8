"""What a router's function is checked for, without running its file."""

from __future__ import annotations

import pytest

from vertebra.compiler import Catalogue, compile_graph, read_graph
from vertebra.schemas.errors import Complaints

GRAPH = """
graph: routed
version: 1.0.0
nodes:
  route: {type: router, function: "routes.py:choose"}
  next: {type: rules, default: {}}
edges:
  - route -> next
"""


@pytest.mark.parametrize("text", ["def choose(:", "-" * 100_000 + "1", "a" + ".b" * 100_000, "(" * 5_000])
def test_a_file_that_no_parser_reads_is_a_complaint(text: str) -> None:
    """However deeply it is nested, its author reads which file is wrong."""
    with pytest.raises(Complaints) as caught:
        compile_graph(read_graph(GRAPH, "routed.yaml"), Catalogue(files={"routes.py": text}))

    assert "routes.py:1: it is no Python" in str(caught.value)
