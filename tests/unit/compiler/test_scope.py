"""What authors are told about paths that lead to nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graphs.catalogue import graph_catalogue, spec
from vertebra.compiler import compile_text
from vertebra.schemas.errors import Complaints

TEXT = """
graph: one-value
version: 1.0.0
input: {amount: {type: integer, required: true}}
output: {said: {type: string, from: SAID}}
state: {said: {type: string, default: ""}}
spine: {permissions: [execute_tools], tools: [shout], expires_in: 1h, budget: {usd: 0.10, on_breach: pause}}
nodes:
  shout: {type: tool, tool: shout, args: {amount: input.amount}WRITE}
"""


@pytest.mark.parametrize(
    ("said", "write", "line"), [("shout.value", "", 5), ("state.said", ", write: {said: value}", 9)]
)
def test_a_tool_that_answers_with_one_value_has_no_fields(said: str, write: str, line: int) -> None:
    """Whoever wants to read it is told how the tool must answer."""
    tool = spec("shout", "pure").model_copy(update={"output_schema": {"type": "string"}})
    known = graph_catalogue()
    catalogue = replace(known, tools={**known.tools, tool.name: tool})

    with pytest.raises(Complaints, match=rf"g\.yaml:{line}: .*answers with a TypedDict or a data class"):
        compile_text(TEXT.replace("SAID", said).replace("WRITE", write), "g.yaml", catalogue)
