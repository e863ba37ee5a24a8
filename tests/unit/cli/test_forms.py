"""The second form of a graph: what is shown of tasks and plans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.graphs.catalogue import GRAPHS, graph_catalogue
from vertebra.boundary.strict_yaml import read_yaml
from vertebra.cli import forms
from vertebra.compiler import compile_text
from vertebra.schemas.graph import END, CompiledGraph

GOOD = sorted((GRAPHS / "good").glob("*.yaml"))


def compiled(path: Path) -> CompiledGraph:
    return compile_text(path.read_bytes(), path.name, graph_catalogue())


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_tasks_and_plans_alternate(path: Path) -> None:
    """After every task comes one plan, and plans lead to tasks or the end alone."""
    graph = compiled(path)

    found = forms.plans(graph)

    assert list(graph.nodes) == [plan.after for plan in found]
    assert {target for plan in found for _, targets in plan.ways for target in targets} <= {*graph.nodes, END}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_every_arrow_of_the_flowchart_joins_a_task_and_a_plan(path: Path) -> None:
    """No arrow leads from task to task, but for failures; labels hold nothing that Mermaid would read."""
    arrows = [line for line in forms.as_mermaid(compiled(path)).splitlines() if "--" in line]
    ends = [re.fullmatch(r'  ([tp])_\w+ (?:-- "[^"<>&]*" )?--> ([tp])_\w+', line) for line in arrows]

    assert arrows
    assert all(end is not None and end[1] != end[2] for end in ends), arrows


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_written_form_compiles_to_the_same_edges(path: Path) -> None:
    """What is shown as written can be written so: the file with these edges means the same."""
    graph = compiled(path)
    raw = read_yaml(path.read_bytes(), path.name).value
    assert isinstance(raw, dict)
    lines = "".join(f"  - {line}\n" for line in forms.written(graph).splitlines())
    text = re.sub(r"(?ms)^edges:\n(?:  .*\n?|#.*\n?)+", f"edges:\n{lines}", path.read_text() + "\n")
    again = compile_text(text, path.name, graph_catalogue())

    assert (graph.routes, graph.joins) == (again.routes, again.joins)


def test_what_a_router_shows() -> None:
    """A router is a plan of its own kind, and each of its ways says for which values it is taken."""
    lines = forms.as_lines(compiled(GRAPHS / "good/router-node.yaml")).splitlines()

    assert ["  plan  router -> parse_pdf  pdf", f"{'':13} -> parse_word  word", f"{'':13} -> end  *"] == lines[1:4]


def test_what_the_support_graph_shows() -> None:
    """A conditional edge is a rules plan, a task that feeds a task has a pass-through plan."""
    graph = compiled(GRAPHS / "project/graphs/customer-support.yaml")

    lines = forms.as_lines(graph).splitlines()

    assert "  plan  rules -> end  classify.kind == 'spam'" in lines
    assert "  plan  pass  -> send" in lines
    assert {
        "task": "send",
        "type": "tool",
        "plan": "pass",
        "next": [{"when": None, "to": ["end"]}],
        "on_error": None,
    } == (
        forms.as_json(graph)[-1]  # type: ignore[index]  # a list
    )
