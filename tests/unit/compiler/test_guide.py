"""The guide to the language: its examples are whole and true."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import copytree
from typing import get_args

import pytest

import vertebra
from vertebra.compiler import AgentGraph, Catalogue, compile_graph, compile_text
from vertebra.schemas.graph import NodeType
from vertebra.workers.compiling import Compiled, compile_file, whole_project

TEMPLATES = Path(vertebra.__file__).parent / "templates"
TEXT = (Path(__file__).parents[3] / "docs/write-a-graph.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(graph: .*?)```", TEXT, re.DOTALL)
BUILT, COMPILED, _ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: str(text).split()[1])
def test_every_example_compiles(text: str, catalogue: Catalogue) -> None:
    """As it stands on the page, against the project of the tests."""
    assert compile_text(text, "example.yaml", catalogue).nodes


def test_the_python_example_is_the_first_yaml_example(catalogue: Catalogue) -> None:
    """Both forms on the page have one digest."""
    names: dict[str, object] = {}
    exec(compile(BUILT, "example.py", "exec"), names)  # our own page
    built = names["graph"]
    assert isinstance(built, AgentGraph)

    assert compile_text(EXAMPLES[0], "example.yaml", catalogue).digest == compile_graph(built, catalogue).digest


def test_the_page_compiles_it_against_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own lines give the graph and the texts that `vertebra publish` takes for the YAML."""
    project = tmp_path / "support"
    copytree(TEMPLATES / "customer-support", project)
    file = project / "graphs" / "sort-a-ticket.yaml"
    file.write_text(EXAMPLES[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}

    exec(compile(BUILT + COMPILED, "example.py", "exec"), names)  # our own page

    compiled = names["compiled"]
    assert isinstance(compiled, Compiled)
    assert compile_file(whole_project(project), file) == compiled


def test_every_node_type_is_in_the_table() -> None:
    """The page names what there is."""
    assert set(get_args(NodeType)) == set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))


def test_every_method_of_the_builder_is_on_the_page() -> None:
    """And nothing that is none."""
    methods = {
        name for name, value in vars(AgentGraph).items() if callable(value) and not name.startswith(("_", "model_"))
    }

    assert set() == {name for name in methods if f"`{name}" not in TEXT}
