"""Whole graph files: good ones give the expected facts, broken ones exactly the expected complaints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.graphs.catalogue import GRAPHS
from vertebra.compiler import Catalogue, Project, compile_graph, compile_text, pinned_prices, read_graph
from vertebra.schemas.canonical import Json, digest_of
from vertebra.schemas.errors import VertebraError
from vertebra.schemas.graph import ENGINE, CompiledGraph, parse_graph
from vertebra.schemas.money import Price, PriceTable

GOOD = sorted((GRAPHS / "good").glob("*.yaml"))
BROKEN = sorted((GRAPHS / "broken").glob("*.yaml"))
EXAMPLE = GRAPHS / "project" / "graphs" / "customer-support.yaml"


def differences(expected: Json, found: Json, at: str = "$") -> list[str]:
    """Where `found` lacks what is expected; it may hold more."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if not expected and found:
            return [f"{at}: expected nothing, found {found}"]
        missing = [f"{at}.{key} is missing" for key in expected if key not in found]
        pairs = [(key, item) for key, item in expected.items() if key in found]
        return missing + [line for key, item in pairs for line in differences(item, found[key], f"{at}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs_ = enumerate(zip(expected, found, strict=True))
        return [line for index, (one, two) in pairs_ for line in differences(one, two, f"{at}[{index}]")]
    return [] if expected == found else [f"{at}: expected {expected}, found {found}"]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_graph_compiles_to_the_expected_facts(path: Path, catalogue: Catalogue) -> None:
    """Each good graph compiles, and what its facts file says holds of the result."""
    compiled = compile_graph(read_graph(path.read_bytes(), path.name), catalogue)

    assert [] == differences(json.loads(path.with_suffix(".json").read_text()), compiled.model_dump(mode="json"))


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_graph_gives_the_expected_complaints(path: Path, catalogue: Catalogue) -> None:
    """Each broken graph is refused with exactly the complaints of its text file: all at once, each with its line."""
    with pytest.raises(VertebraError) as refused:
        compile_text(path.read_bytes(), path.name, catalogue)

    assert path.with_suffix(".txt").read_text() == f"{refused.value}\n"


def test_every_complaint_names_file_and_line() -> None:
    """No expected complaint leaves the author without a line to look at."""
    lines = [(path, line) for path in BROKEN for line in path.with_suffix(".txt").read_text().splitlines()]

    assert 150 < len(lines)
    assert [] == [
        line for path, line in lines if not line.startswith(f"{path.name}:") or not line[len(path.name) + 1].isdigit()
    ]


def test_the_complete_example_of_the_language_compiles(catalogue: Catalogue) -> None:
    """The example that the language is documented with compiles, and its digest is that of its bytes read back."""
    compiled = compile_graph(read_graph(EXAMPLE.read_text(), EXAMPLE.name), catalogue)

    assert "classify" == compiled.start
    assert 500_000 == compiled.spine.budget.microusd if compiled.spine.budget else None
    assert ("state.refund_usd",) == compiled.nodes["send"].facts
    assert {} == compiled.joins
    assert not compiled.output["reply"].required
    assert compiled.digest == CompiledGraph.model_validate_json(compiled.canonical).digest


def test_what_is_published_keeps_the_digest_of_its_bytes(catalogue: Catalogue) -> None:
    """Also where this release would write less, or knows less: a run names what is stored. A changed copy differs."""
    compiled = compile_graph(read_graph(EXAMPLE.read_text(), EXAMPLE.name), catalogue)
    text = json.dumps(json.loads(compiled.canonical) | {"joins": {}, "of_later": 1}, sort_keys=True)

    stored = parse_graph(text)

    assert digest_of(text.encode()) == stored.digest != compiled.digest
    assert compiled.digest == stored.model_copy().digest
    assert compiled.digest != compiled.model_copy(update={"version": "9.9.9"}).digest


class Later(CompiledGraph):
    """As a later release may have it: with one more field, and a newer engine."""

    engine: int = ENGINE + 1
    added: bool = False


def test_a_field_that_is_added_later_changes_no_digest(catalogue: Catalogue) -> None:
    """What is at its default is not in the bytes; the revision of the rules is, whatever its default is by then."""
    compiled = compile_graph(read_graph(EXAMPLE.read_text(), EXAMPLE.name), catalogue)

    later = Later.model_validate_json(compiled.canonical)

    assert ENGINE == later.engine
    assert (compiled.canonical, compiled.digest) == (later.canonical, later.digest)
    assert b'"optional"' not in compiled.canonical


def test_the_pinned_prices_are_those_of_the_graph_s_models(catalogue: Catalogue, project: Project) -> None:
    """The price digest in the graph is that of the rows that are stored with it."""
    compiled = compile_graph(read_graph(EXAMPLE.read_text(), EXAMPLE.name), catalogue)

    table = pinned_prices(compiled, project.prices)

    assert compiled.prices == table.digest
    assert ["large", "small"] == [price.model for price in table.prices]


_COMPILE = """
from tests.graphs.catalogue import GRAPHS, graph_catalogue
from vertebra.compiler import compile_graph, read_graph
for path in [*sorted((GRAPHS / "good").glob("*.yaml")), *sorted((GRAPHS / "project").glob("graphs/*.yaml"))]:
    print(compile_graph(read_graph(path.read_bytes(), path.name), graph_catalogue()).digest)
"""


def test_two_processes_give_identical_bytes() -> None:
    """The digest of every good graph is the same under different hash seeds."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", _COMPILE],
            cwd=GRAPHS.parents[1],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "77")
    ]

    assert len(GOOD) + 1 == len(runs[0].splitlines())
    assert runs[0] == runs[1] == runs[2]


def test_the_order_of_nodes_in_the_file_decides_nothing(catalogue: Catalogue) -> None:
    """The same nodes written the other way round give the same digest."""
    rules = {"type": "rules", "default": {"ok": {"value": True}}}
    edges = ["a -> b, c", {"b, c -> d": {"join": "all"}}]
    texts = [
        json.dumps({"graph": "g", "version": "1.0.0", "nodes": dict.fromkeys(names, rules), "edges": edges})
        for names in ("abcd", "dcba")
    ]

    one, two = (compile_graph(read_graph(text, "g.json"), catalogue) for text in texts)

    assert one.digest == two.digest


@pytest.mark.parametrize(
    ("tool", "missing"),
    [
        ("recall", "execute_tools"),
        ("recall", "read_memory"),
        ("remember", "write_memory"),
        ("hire", "attach_agent"),
        ("book", "persist_data"),
    ],
)
def test_each_permission_that_a_tool_declares_must_stand_in_the_spine(
    tool: str, missing: str, catalogue: Catalogue
) -> None:
    """With one of the five taken away, the complaint names it and the line to change."""
    held = {"execute_tools", "read_memory", "write_memory", "attach_agent", "persist_data"} - {missing}
    spine = {"permissions": sorted(held), "tools": [tool], "expires_in": "8h"}
    node = {"type": "tool", "tool": tool, "args": {"amount": {"value": 1}}}
    text = json.dumps({"graph": "g", "version": "1.0.0", "spine": spine, "nodes": {"a": node}})

    with pytest.raises(VertebraError) as refused:
        compile_text(text, "g.json", catalogue)

    message = (
        f"g.json:1: node 'a' uses tool {tool!r}, which needs the permission {missing!r}; add it to spine.permissions"
    )
    assert message == str(refused.value)


def test_a_long_pipeline_compiles_in_time(catalogue: Catalogue) -> None:
    """Five hundred nodes in a row take well under the time that an author notices."""
    names = [f"n{number}" for number in range(500)]
    rules = {"type": "rules", "default": {"ok": {"value": True}}}
    nodes = dict.fromkeys(names, rules)
    edges = [f"{one} -> {two}" for one, two in pairwise(names)]
    text = json.dumps({"graph": "g", "version": "1.0.0", "nodes": nodes, "edges": edges})

    began = time.process_time()
    compiled = compile_text(text, "g.json", catalogue)

    assert "n0" == compiled.start
    assert time.process_time() - began < 5


def test_json_is_read_too(catalogue: Catalogue) -> None:
    """A graph written as JSON gives the same digest as its YAML."""
    yaml_text = (GRAPHS / "good" / "pipeline.yaml").read_text()
    rules = {"type": "rules", "default": {"ok": {"value": True}}}
    nodes = {"parse": rules, "extract": rules, "analyze": rules}
    edges = ["parse -> extract", "extract -> analyze"]
    as_json = json.dumps({"graph": "pipeline", "version": "1.0.0", "nodes": nodes, "edges": edges})

    one = compile_graph(read_graph(yaml_text, "pipeline.yaml"), catalogue)
    two = compile_graph(read_graph(as_json, "pipeline.json"), catalogue)

    assert one.digest == two.digest


def test_an_alias_of_a_provider_is_the_provider(catalogue: Catalogue) -> None:
    """`chatgpt` and `openai` give one graph: rights, price and pin hold the id; an endpoint loses its last slash."""
    text = (
        "graph: one\nversion: 1.0.0\n"
        "spine: {expires_in: 1h, budget: {usd: 1.00}, models: [PROVIDER/gpt]}\n"
        "agents:\n  a: {type: llm, model: MODEL, prompt: classify@1}\n"
        "nodes:\n  n: {agent: a, input: {ticket: {value: hi}}}\n"
    )
    text = text.replace("MODEL", "{provider: PROVIDER, model: gpt, endpoint: 'http://h:1/v1/'}")
    price = Price(provider="openai", model="gpt", input=1, output=1)
    priced = replace(catalogue, prices=PriceTable(prices=(price,)))

    alias, same = (compile_text(text.replace("PROVIDER", word), "one.yaml", priced) for word in ("chatgpt", "openai"))

    assert alias.digest == same.digest
    assert ("openai", "http://h:1/v1") == (alias.agents["a"].model.provider, alias.agents["a"].model.endpoint)
    assert ("openai/gpt",) == alias.spine.models
    assert alias.prices == priced.prices.digest
