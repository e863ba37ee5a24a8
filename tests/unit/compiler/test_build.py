"""The Python builder: whatever is written as YAML can be built, to the same digest."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.graphs.catalogue import GRAPHS
from vertebra.boundary.strict_yaml import read_yaml
from vertebra.compiler import AgentGraph, Catalogue, compile_graph, compile_text, read_graph
from vertebra.schemas.errors import Complaints, GraphError

GOOD = [*sorted((GRAPHS / "good").glob("*.yaml")), GRAPHS / "project/graphs/customer-support.yaml"]
OK: dict[str, Any] = {"type": "rules", "default": {"ok": {"value": True}}}
TICKET: dict[str, Any] = {
    "ticket": {"type": "string", "required": True},
    "quality_score": {"type": "float", "required": True},
    "document_type": {"type": "enum", "values": ["pdf", "word", "excel"], "required": True},
}


def pipeline() -> AgentGraph:
    made = AgentGraph("pipeline", "1.0.0")
    for name in ("parse", "extract", "analyze"):
        made = made.add_node(name, **OK)
    return made.pipeline("parse", "extract", "analyze")


def research() -> AgentGraph:
    call: dict[str, Any] = {"agent": "sorter", "input": {"ticket": "input.ticket"}, "write": {"found": "summary"}}
    model: dict[str, Any] = {"provider": "scripted", "model": "small", "temperature": 0}
    both: dict[str, Any] = {"a": "research_entity_a.summary", "b": "research_entity_b.summary"}
    made = AgentGraph("research-in-parallel", "0.3.0-rc.1").with_input(**TICKET)
    made = made.with_state(
        found={"type": "list", "item_type": "string", "reduce": "append", "default": []}, both={"type": "string"}
    )
    made = made.with_spine(
        permissions=["execute_tools"],
        tools=["search_docs", "wire_money"],
        expires_in="8h",
        budget={"usd": 1.00, "tokens": 5000},
    )
    made = made.add_agent(
        "sorter", type="llm", model=model, prompt="classify@1", timeout="30s", retry={"max_attempts": 5}
    )
    made = made.add_node("begin", **OK).add_node("research_entity_a", **call).add_node("research_entity_b", **call)
    made = made.add_node("compare", type="rules", default=both, write={"both": "a"})
    made = made.parallel("begin", "research_entity_b", "research_entity_a", join="compare")
    return made.with_output(
        found={"type": "list", "required": True, "from": "state.found"},
        both={"type": "string", "required": True, "from": "state.both"},
    )


def quality() -> AgentGraph:
    grade: dict[str, Any] = {"type": "integer", "required": True, "validators": [{"type": "range", "value": [1, 5]}]}
    good = "has(manual_review.answer) && manual_review.answer.grade > 3"
    made = AgentGraph("quality-check", "1.0.0").with_input(**TICKET).add_node("check_quality", **OK)
    made = made.add_node(
        "manual_review",
        type="human",
        show={"ticket": "input.ticket"},
        form={"grade": grade},
        assign=["support_lead"],
        expires_in="2d",
    )
    made = made.add_node("auto_process", **OK)
    made = made.add_node(
        "publish",
        type="rules",
        rules=[{"when": good, "then": {"good": {"value": True}}}],
        default={"good": {"value": False}},
    )
    made = made.conditional("check_quality", "input.quality_score < 0.8", "manual_review", "auto_process")
    return made.pipeline("manual_review", "publish").pipeline("auto_process", "publish")


def router() -> AgentGraph:
    made = AgentGraph("router", "1.0.0").with_input(**TICKET)
    for name in ("route", "parse_pdf", "parse_word", "parse_excel"):
        made = made.add_node(name, **OK)
    made = made.add_edge("route", "parse_pdf", when="input.document_type == 'pdf'")
    return made.conditional("route", "input.document_type == 'word'", "parse_word", "parse_excel")


def rebuilt(text: bytes) -> AgentGraph:
    """Any graph file, call by call."""
    raw: Any = read_yaml(text, "graph").value
    made = AgentGraph(raw["graph"], raw["version"], raw.get("description"))
    made = made.with_input(**raw.get("input", {})).with_output(**raw.get("output", {}))
    made = made.with_state(**raw.get("state", {})).with_spine(**raw.get("spine", {}))
    made = made.with_defaults(**{key: raw[key] for key in ("retry", "timeout", "deadline", "on_error") if key in raw})
    for name, keys in raw.get("agents", {}).items():
        made = made.add_agent(name, **keys)
    for name, keys in raw["nodes"].items():
        made = made.add_node(name, **keys)
    for line in raw.get("edges", []):
        edge, options = next(iter(line.items())) if isinstance(line, dict) else (line, {})
        sources, targets = (side.split(",") for side in re.split(r" *-> *", edge))
        options = {{"else": "otherwise"}.get(key, key): value for key, value in options.items()}
        made = made.add_edge([name.strip() for name in sources], [name.strip() for name in targets], **options)
    for guardrail in raw.get("guardrails", []):
        made = made.add_guardrail(guardrail.pop("id"), **guardrail)
    return made


@pytest.mark.parametrize("built", [pipeline, research, quality, router], ids=lambda made: made.__name__)
def test_the_seed_graphs_have_one_digest_in_both_forms(built: Any, catalogue: Catalogue) -> None:
    """Sequence, parallel, condition and router, written as calls."""
    made = built()
    text = (GRAPHS / f"good/{made.graph}.yaml").read_bytes()

    assert compile_text(text, "graph.yaml", catalogue).digest == compile_graph(made, catalogue).digest


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_every_construct_of_the_language_can_be_built(path: Path, catalogue: Catalogue) -> None:
    """Each good graph, call by call: joins, waits, approvals, guardrails, cycles, groups and fallbacks among them."""
    text = path.read_bytes()

    made = compile_graph(rebuilt(text), catalogue)

    assert compile_graph(read_graph(text, path.name), catalogue).digest == made.digest


def test_a_call_leaves_the_graph_as_it_was() -> None:
    """Two graphs may go on from one."""
    base = AgentGraph("g", "1.0.0").add_node("a", **OK)
    left, right = base.add_node("b", **OK), base.add_node("c", **OK)

    assert (["a"], ["a", "b"], ["a", "c"]) == tuple(list(graph.nodes) for graph in (base, left, right))


def test_mistakes_of_meaning_name_the_call(catalogue: Catalogue) -> None:
    """A cycle without a cap and an unknown name are told when the graph is compiled, each with file and line."""
    made = AgentGraph("g", "1.0.0").add_node("a", **OK).add_node("b", **OK)
    made = made.pipeline("a", "b", "a").add_edge("a", "nowhere", when="true")

    with pytest.raises(Complaints) as refused:
        compile_graph(made, catalogue)

    told = str(refused.value)
    lines = [line for line in told.splitlines() if re.match(rf"{re.escape(__file__)}:\d+: ", line)]
    assert len(told.splitlines()) == len(lines)
    assert "the cycle a -> b -> a has no max_visits" in told
    assert "unknown node 'nowhere'" in told


def test_mistakes_of_shape_are_told_at_once() -> None:
    """An unknown key raises in the very call."""
    with pytest.raises(Complaints, match=rf"{re.escape(Path(__file__).name)}:\d+: node 'a' has no key 'promt'"):
        AgentGraph("g", "1.0.0").add_node("a", type="rules", promt="x")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "a set is no JSON value"),
        (datetime(2026, 12, 24, tzinfo=UTC), "a datetime is no JSON value"),
        (Decimal("0.1"), "a Decimal is no JSON value"),
        (float("nan"), "the number is not finite"),
        ({1: "a"}, "the key 1 is no text"),
    ],
)
def test_a_value_that_no_file_can_say_is_told_in_the_call(value: Any, said: str) -> None:
    """With file, line and the place in the graph: neither Python's own error, nor another value in silence."""
    where = rf"{re.escape(Path(__file__).name)}:\d+: nodes\.a\.default\.v\.value: {re.escape(said)}"
    with pytest.raises(GraphError, match=where):
        AgentGraph("g", "1.0.0").add_node("a", type="rules", default={"v": {"value": value}})


def test_a_value_without_an_end_is_told_in_the_call() -> None:
    """A list that holds itself is nested deeper than anything."""
    endless: Any = []
    endless.append(endless)

    with pytest.raises(
        GraphError, match=rf"{re.escape(Path(__file__).name)}:\d+: nodes\.a: nested deeper than 64 levels"
    ):
        AgentGraph("g", "1.0.0").add_node("a", type="rules", default={"v": {"value": endless}})


BASE = AgentGraph("g", "1.0.0").add_node("a", **OK)
NOTHING: Any = None
FIVE: Any = 5
FIELDS: Any = {"b": 1}
THING: Any = object()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: BASE.add_edge("a", NOTHING), "the name of a node is a text, no NoneType"),
        (lambda: BASE.add_edge("a", FIVE), "the name of a node is a text, no int: 5"),
        (lambda: BASE.add_edge(["a", FIVE], "b"), "the name of a node is a text, no int: 5"),
        (lambda: BASE.add_edge("a", FIELDS), "the name of a node is a text, no dict"),
        (lambda: BASE.pipeline("a", FIVE), "the name of a node is a text, no int: 5"),
        (lambda: BASE.parallel("a", "b", FIVE, join="c"), "the name of a node is a text, no int: 5"),
        (lambda: BASE.join(FIVE, "b"), "the name of a node is a text, no int: 5"),
        (lambda: BASE.finish(FIVE), "the name of a node is a text, no int: 5"),
        (lambda: BASE.conditional("a", FIVE, "b", "c"), "the condition is a text, no int: 5"),
        (
            lambda: BASE.add_dynamic_router(FIVE, "tools/r.py:f", ["b"]),
            "the name of a node is a text, no int",
        ),
        (lambda: BASE.add_dynamic_router("a", "tools/r.py:f", FIVE), "the name of a node is a text, no int"),
        (
            lambda: BASE.add_dynamic_router("a", "tools/r.py:f", ["b"], input=FIVE),
            "'input' must be a mapping",
        ),
        (lambda: BASE.add_node(FIVE, **OK), "a name is a text, no int: 5"),
        (lambda: AgentGraph("g", "1.0.0", THING), "description: a object is no JSON value"),
    ],
)
def test_what_is_no_name_is_told_in_the_call(call: Callable[[], object], said: str) -> None:
    """With file and line, and not as Python's own error from inside the builder."""
    with pytest.raises(GraphError, match=rf"{re.escape(Path(__file__).name)}:\d+: .*{re.escape(said)}"):
        call()


def test_one_target_of_a_router_needs_no_list() -> None:
    """Its letters are not taken for names."""
    made = BASE.add_node("next", **OK).add_dynamic_router("a", "tools/r.py:f", "next")

    assert ("next",) == made.edges[-1].targets


def test_a_name_is_written_once() -> None:
    """A second node of one name does not silently replace the first."""
    with pytest.raises(GraphError, match="is there already"):
        AgentGraph("g", "1.0.0").add_node("a", **OK).add_node("a", **OK)


def test_a_python_function_becomes_a_router_that_names_it() -> None:
    """The node holds the project file and the function, which is never called here."""
    made = AgentGraph("g", "1.0.0").add_node("a", **OK).add_node("b", **OK).add_node("c", **OK)

    routed = made.add_dynamic_router("a", "tools/route.py:choose", ["b", "c"])

    assert ("router", "tools/route.py:choose") == (routed.nodes["a_router"].type, routed.nodes["a_router"].function)


ROUTED = """
graph: g
version: 1.0.0
input: {kind: {type: string, required: true}}
nodes:
  a: {type: rules, default: {ok: {value: true}}}
  b: {type: rules, default: {ok: {value: true}}}
  c: {type: rules, default: {ok: {value: true}}}
  a_router: {type: router, function: "tools/route.py:choose", input: {kind: input.kind}}
edges:
  - a -> a_router
  - a_router -> b
  - a_router -> c
"""


@pytest.mark.parametrize("method", ["add_dynamic_router", "conditional"])
def test_a_routers_function_is_given_input_and_its_targets_are_plain_edges(method: str) -> None:
    """As in YAML, so that an answer which is no target blocks and takes no other way."""
    catalogue = Catalogue(files={"tools/route.py": "def choose(kind): return kind"})
    made = AgentGraph("g", "1.0.0").with_input(kind={"type": "string", "required": True})
    made = made.add_node("a", **OK).add_node("b", **OK).add_node("c", **OK)

    if method == "conditional":
        made = made.conditional("a", "tools/route.py:choose", "b", "c", input={"kind": "input.kind"})
    else:
        made = made.add_dynamic_router("a", "tools/route.py:choose", ["b", "c"], input={"kind": "input.kind"})

    assert compile_text(ROUTED, "g.yaml", catalogue).digest == compile_graph(made, catalogue).digest


def test_a_condition_that_is_no_function_takes_no_input() -> None:
    """What would be passed over in silence is refused, in the very call."""
    with pytest.raises(GraphError, match="takes no input"):
        AgentGraph("g", "1.0.0").add_node("a", **OK).conditional("a", "true", "b", "c", input={"kind": "input.kind"})


@pytest.mark.parametrize("function", [lambda: "b", test_a_name_is_written_once], ids=["lambda", "elsewhere"])
def test_a_function_that_is_in_no_project_file_is_refused(function: Any) -> None:
    """It could not be found again where the run goes on."""
    with pytest.raises(GraphError, match=r"tools/FILE\.py"):
        AgentGraph("g", "1.0.0").add_node("a", **OK).add_dynamic_router("a", function, ["b", "c"])
