"""Reading graph files: whatever stands in them, the answer is a graph or a complaint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertebra.compiler import Catalogue, compile_graph, compile_text, read_graph
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.errors import BadFile, Complaints, VertebraError

EXAMPLE = (Path(__file__).parents[2] / "graphs" / "project" / "graphs" / "customer-support.yaml").read_text()
WORDS = sorted({word for line in EXAMPLE.splitlines() for word in line.replace(":", " ").split()})

MARKS = ["\n", "\n  ", ":", "- ", "{", "}", "[", "]", "'", "&a", "*a", "|"]

scraps = st.text(max_size=200) | st.lists(st.sampled_from([*WORDS, *MARKS]), max_size=60).map(" ".join)
names = st.sampled_from(WORDS) | st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
keys = [*AgentGraph.model_fields, "nods"]


def told(read: Callable[[], object]) -> str:
    """The complaint of a reader, or the file's name where it has none; any other exception passes."""
    try:
        read()
    except VertebraError as error:
        return str(error)
    return "x.yaml"


@settings(max_examples=150)
@given(text=scraps)
def test_random_text_gives_a_graph_or_a_complaint(text: str) -> None:
    """No text makes the reader fail in another way than by a named error."""
    assert "x.yaml" in told(lambda: read_graph(text, "x.yaml"))


@settings(max_examples=150)
@given(graph=st.dictionaries(st.sampled_from(keys), values))
def test_random_values_give_a_graph_or_a_complaint(graph: dict[str, object]) -> None:
    """No value under any known key makes reader or compiler fail in another way than by a named error."""
    assert "x.yaml" in told(lambda: compile_text(json.dumps(graph), "x.yaml", Catalogue()))


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_example_gives_a_graph_or_a_complaint(data: st.DataObject) -> None:
    """The complete example with some lines lost, doubled or exchanged never breaks the compiler."""
    lines = EXAMPLE.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(" ")
        place = data.draw(st.integers(0, len(words) - 1))
        words[place] = data.draw(st.sampled_from([*WORDS, "", "{}", "[]", "null", "1"]))
        lines[at] = " ".join(words)
    assert "x.yaml" in told(lambda: compile_text("\n".join(lines), "x.yaml", Catalogue()))


def test_mistakes_of_shape_and_of_meaning_come_together() -> None:
    """An unknown key hides no other complaint."""
    text = "graph: x\nversion: 1.0\nnods: {}\nnodes: {a: {type: sql}}\n".replace("1.0", "1.0.0")

    with pytest.raises(Complaints) as refused:
        compile_text(text, "x.yaml", Catalogue())

    assert [3, 4] == [int((one.at or "").split(":")[1]) for one in refused.value.complaints]


def test_a_flood_of_mistakes_is_cut() -> None:
    """Of more than 200 mistakes the rest is counted."""
    nodes = "\n".join(f"  n{number}: {{type: sql}}" for number in range(300))

    with pytest.raises(Complaints) as refused:
        compile_text(f"graph: x\nversion: 1.0.0\nnodes:\n{nodes}\n", "x.yaml", Catalogue())

    assert 201 == len(refused.value.complaints)


def test_a_huge_file_is_refused_unread() -> None:
    """Ten megabytes give one complaint."""
    with pytest.raises(BadFile, match="larger than"):
        read_graph("x" * 10_000_000, "x.yaml")


def test_a_compiled_graph_over_the_limit_is_refused() -> None:
    """A graph whose compiled form is larger than 512 KiB says how large it is."""
    text = json.dumps({"value": "x" * 600_000})
    graph = f"graph: x\nversion: 1.0.0\nnodes:\n  a: {{type: rules, default: {{t: {text}}}}}\n"

    with pytest.raises(Complaints, match="more than 524288"):
        compile_text(graph, "x.yaml", Catalogue())


def test_a_graph_from_no_file_names_node_and_field() -> None:
    """Without a file a complaint names the place by its path."""
    graph = AgentGraph.model_validate({"graph": "x", "version": "1.0.0", "nodes": {"a": {"type": "sql"}}})

    with pytest.raises(Complaints, match=r"^graph\.nodes\.a\.type: "):
        compile_graph(graph, Catalogue())
