"""The JSON Schemas for editors: they take every example, and refuse what the readers refuse for its shape."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path

import jsonschema_rs
import pytest

from tests.graphs.catalogue import GRAPHS
from vertebra.boundary.strict_yaml import read_yaml
from vertebra.cli import editor
from vertebra.cli.main import main
from vertebra.compiler.read import read_shape
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile

ROOT = Path(__file__).parents[3]
PROJECTS = [*sorted(path.parent for path in (ROOT / "vertebra/templates").glob("*/vertebra.toml")), GRAPHS / "project"]


@cache
def checker(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(editor.schema(name))


def examples() -> list[tuple[str, Path]]:
    """Every authored file of the repository, with the kind of it."""
    found = [
        (name, path) for project in PROJECTS for name, kind in editor.FILES.items() for path in project.glob(kind.files)
    ]
    return [*found, *(("graph", path) for path in (GRAPHS / "good").glob("*.yaml"))]


def value_of(path: Path) -> Json:
    text = path.read_text(encoding="utf-8")
    return tomllib.loads(text) if path.suffix == ".toml" else read_yaml(text, path.name).value


@pytest.mark.parametrize("name", editor.FILES)
def test_each_is_a_schema(name: str) -> None:
    """Every schema is one, by the draft that it names."""
    assert jsonschema_rs.meta.is_valid(editor.schema(name))


@pytest.mark.parametrize("name", editor.FILES)
def test_every_example_of_the_repository_fits(name: str) -> None:
    """What vertebra ships and tests is never underlined in red; of each kind of file there is an example."""
    files = [path for kind, path in examples() if kind == name]

    problems = [
        f"{path.name}: {problem.instance_path}: {problem.message}"
        for path in files
        for problem in checker(name).iter_errors(value_of(path))
    ]

    assert [] == problems
    assert files


def test_a_graph_of_broken_shape_is_refused() -> None:
    """What the reader refuses for its shape alone the schema refuses too; the rest is for `vertebra check`."""
    taken, refused = [], 0
    for path in sorted((GRAPHS / "broken").glob("*.yaml")):
        try:
            _, faults = read_shape(path.read_bytes(), path.name)
            value = value_of(path)
        except BadFile:
            continue  # no YAML that vertebra reads: there is no value to look at
        if faults.found and checker("graph").is_valid(value):
            taken.append(path.stem)
        refused += bool(faults.found)

    assert [] == taken
    assert refused > 10


BROKEN = [
    ("graph", {"graph": "a", "version": "1.0.0", "nodes": {"one": {"agent": "x", "inputs": {}}}}),
    ("graph", {"graph": "a", "version": "1.0.0", "nodes": {"one": {"type": "tol"}}}),
    ("graph", {"graph": "a", "version": "1.0.0", "nodes": {"one": {"type": "tool", "show": {}}}}),
    ("graph", {"graph": "a", "version": "1.0.0", "nodes": {}, "edges": ["a => b"]}),
    ("graph", {"graph": "a", "version": "1.0.0", "nodes": {}, "state": {"n": {"type": "integer", "reduce": "add"}}}),
    ("prompt", {"prompt": "say", "version": 0, "template": "x"}),
    ("prompt", {"prompt": "say", "version": 1, "template": "x", "input": {"a": {"type": "text"}}}),
    ("prompt", {"prompt": "say", "version": 1, "template": "x", "tests": [{"name": "a", "expects": {}}]}),
    ("replies", [{"reply": "x", "delay": 5}]),
    ("replies", [{"fail": {"kind": "broken"}}]),
    ("scenario", {"scenario": "a", "graph": "b", "expects": {}}),
    ("scenario", {"scenario": "a", "graph": "b", "expect": {"status": "done"}}),
    ("scenario", {"scenario": "a", "graph": "b", "approvals": {"send": {"as": "ada", "decision": "allow"}}}),
    ("people", [{"name": "ada", "role": "admin"}]),
    ("prices", [{"provider": "a", "model": "b", "input": -1, "output": 1}]),
    ("vertebra", {"temporal_adress": "x"}),
    ("vertebra", {"limits": {"effects": 0}}),
    ("vertebra", {"project": "elsewhere"}),
]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_a_mistake_is_seen_while_it_is_typed(name: str, value: Json) -> None:
    """Of each kind of file: wrong words, types and ranges do not fit."""
    assert not checker(name).is_valid(value)


def test_a_new_project_has_them(tmp_path: Path) -> None:
    """`vertebra init` writes the schemas, and the first line of each file leads to its own."""
    project = tmp_path / "shop"
    with pytest.raises(SystemExit):
        main(["init", str(project)])

    named = {
        path: path.parent / path.read_text(encoding="utf-8").partition("\n")[0].rpartition("=")[2].rpartition(" ")[2]
        for name, kind in editor.FILES.items()
        for path in project.glob(kind.files)
    }
    assert {"people.yaml", "vertebra.toml", "customer-support.yaml"} <= {path.name for path in named}
    assert all(schema.is_file() for schema in named.values())
    written = json.loads((project / editor.FOLDER / "graph.json").read_text(encoding="utf-8"))
    assert editor.schema("graph") == written
