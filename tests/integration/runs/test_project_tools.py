"""Tools of a project on the real servers: the text that was published is what runs, whatever the file says by now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError

from tests.integration.runs.waits import ended, waiting
from tests.stage import Stage
from vertebra.schemas.tool import ProjectTool
from vertebra.tools.project import describe_file

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)"),
]

TEXT = """
from vertebra.tools.contract import tool

@tool(effect="pure")
def add_tax(net: int) -> int:
    'Add the tax.'
    return net * 119
"""
GRAPH = """
graph: own-tool
version: VERSION
input: {net: {type: integer, required: true}}
output: {gross: {type: integer, from: state.gross}}
state: {gross: {type: integer}}
spine: {permissions: [execute_tools], tools: [TOOL], expires_in: 1h}
nodes:
  add: {type: tool, tool: TOOL, args: {net: input.net}, retry: {max_attempts: 1}}
  tell: {type: rules, default: {done: {value: true}}, write: {gross: {value: 1}}}
edges:
  - add -> tell
  - tell -> end
"""


async def described(stage: Stage, folder: Path, text: str) -> ProjectTool:
    path = folder / "tools" / "tax.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert stage.world.tool_host is not None
    [made] = await describe_file(folder, path, stage.world.tool_host)
    return made


async def result(stage: Stage, run: str) -> object:
    [call] = await stage.sql("select result from calls where run = %(id)s and node = 'add'", id=run)
    found: object = json.loads(bytes(call["result"]))["result"]
    return found


async def test_a_graph_keeps_the_text_that_it_was_published_with(stage: Stage, tmp_path: Path) -> None:
    """Two versions of one tool run side by side, each graph with its own, and no worker has the file."""
    answers = []
    for version, text in (("1.0.0", TEXT), ("1.0.1", TEXT.replace("119", "107"))):
        made = await described(stage, tmp_path, text)
        graph = stage.compile(GRAPH.replace("VERSION", version).replace("TOOL", "add_tax"), tools=[made])
        await stage.publish(graph, tools=[made])
        answers.append((graph, made))
    shutil.rmtree(tmp_path / "tools")

    runs = [await stage.start(graph, {"net": 1}) for graph, _ in answers]
    for run in runs:
        await ended(run, stage)

    assert [119, 107] == [await result(stage, run.id) for run in runs]


async def test_an_answer_that_breaks_its_schema_blocks_the_node(stage: Stage, tmp_path: Path) -> None:
    """The tool said integer and gives a text: nothing of it goes on."""
    made = await described(stage, tmp_path, TEXT.replace("add_tax", "odd_tax").replace("net * 119", "'much'"))
    text = GRAPH.replace("own-tool", "odd-tool").replace("VERSION", "1.0.0").replace("TOOL", "odd_tax")
    graph = stage.compile(text, tools=[made])
    await stage.publish(graph, tools=[made])

    handle = await stage.start(graph, {"net": 1})
    wait = await waiting(handle.id, stage, "blocked")

    assert "BadToolOutput" == json.loads(bytes(wait["error"]))["type"]
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
