"""Requests and routers of a graph in a play: the scenario answers for hosts and functions, the checks stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vertebra.compiler import read_graph
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import Complaints
from vertebra.testing import Outcome, ToolAnswer, play, read_scenarios, run_scenario

HELLO = Path(__file__).parents[3] / "vertebra/templates/hello-world"
GRAPH = """\
graph: asking
version: 1.0.0
input: {order: {type: string, required: true}}
output: {total: {type: float, from: state.total}}
state: {total: {type: float}}
spine: {permissions: [execute_tools], expires_in: 7d}
nodes:
  look:
    type: http
    address: "https://shop.example/orders/{input.order}"
    headers: {Authorization: {value: "Bearer secret://env/SHOP_KEY"}}
    on_error: forget
  route: {type: router, function: "routes.py:choose", input: {found: look.body}}
  keep: {type: rules, default: {total: {value: 5.0}}, write: {total: total}}
  forget: {type: rules, default: {ok: {value: false}}}
edges: [look -> route, route -> keep, route -> forget]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a graph that asks a host, and then a function."""
    shutil.copytree(HELLO, tmp_path / "project")
    (tmp_path / "project/graphs/asking.yaml").write_text(GRAPH, encoding="utf-8")
    (tmp_path / "project/routes.py").write_text("def choose(found):\n    return 'keep'\n", encoding="utf-8")
    return tmp_path / "project"


async def played(project: Path, *hosts: ToolAnswer, route: Json = "keep") -> Outcome:
    return await play(project, "asking", {"order": "7"}, tools={"look": hosts, "route": [ToolAnswer(route)]})


async def test_a_host_and_a_function_answer_as_the_scenario_says(project: Path) -> None:
    """A cut connection is asked again; the router goes where it is told; nothing leaves."""
    outcome = await played(project, ToolAnswer(lost=True), ToolAnswer({"body": {"total": 5}}))

    assert ("completed", ("look", "route", "keep"), {"total": 5.0}) == (outcome.status, outcome.path, outcome.output)


async def test_a_graph_of_python_is_played_as_its_yaml_is(project: Path) -> None:
    """Against the same project, which needs no file of it."""
    (project / "graphs/asking.yaml").unlink()
    tools = {"look": [ToolAnswer({"body": {"total": 5}})], "route": [ToolAnswer("keep")]}

    outcome = await play(project, read_graph(GRAPH, "asking.yaml"), {"order": "7"}, tools=tools)

    assert ("completed", ("look", "route", "keep"), {"total": 5.0}) == (outcome.status, outcome.path, outcome.output)


async def test_a_status_that_is_not_expected_takes_the_way_out(project: Path) -> None:
    """The checks of a real answer are those of a scenario's."""
    outcome = await played(project, ToolAnswer({"status": 404}))

    assert ("completed", ("look", "forget")) == (outcome.status, outcome.path)


async def test_a_scenario_file_answers_for_nodes(project: Path) -> None:
    """By the node's name, beside the tools."""
    text = "scenario: asked\ngraph: asking\ninput: {order: '7'}\nexpect: {path: [look, route, forget]}\n"
    tools = "tools: {look: {result: {body: none}}, route: {result: forget}}\n"
    (project / "tests/asked.yaml").write_text(text + tools, encoding="utf-8")
    [scenario] = read_scenarios(project, "asked")

    assert () == tuple((await run_scenario(scenario)).differences)


@pytest.mark.parametrize("said", ["{state: 200}", "{status: ok}", "[]", "{headers: x}"])
def test_an_answer_that_no_host_gives_is_a_complaint(project: Path, said: str) -> None:
    """Its author reads what an answer may hold."""
    text = f"scenario: asked\ngraph: asking\ninput: {{order: '7'}}\ntools: {{look: {{result: {said}}}}}\n"
    (project / "tests/asked.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(Complaints, match="status, headers, body"):
        read_scenarios(project)
