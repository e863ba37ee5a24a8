"""Routers on the real servers: by a value and by a function of the project, and what they may not choose."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError

from tests.integration.runs.waits import ended, tasks, waiting
from tests.stage import Stage
from vertebra.client.graphs import publish
from vertebra.client.signing import Signer
from vertebra.compiler import AgentGraph
from vertebra.schemas.canonical import digest_of
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.pool import connect
from vertebra.workers.compiling import compile_authored, whole_project

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)"),
]

FILE = "tools/routes.py"
TEXT = """
def choose(kind: str) -> str:
    if kind == "crash":
        raise ValueError("no such kind")
    return kind == "bool" or f"parse_{kind}"
"""
GRAPH = """
graph: NAME
version: 1.0.0
input: {kind: {type: string, required: true}}
spine: {principal: svc-support, expires_in: 1h}
nodes:
  route: {type: router, ROUTER, retry: {max_attempts: 1}}
  parse_pdf: {type: rules, default: {ok: {value: true}}}
  parse_word: {type: rules, default: {ok: {value: true}}}
"""
FIELD = "field: input.kind, routes: {pdf: parse_pdf, word: parse_word}"
FUNCTION = f'function: "{FILE}:choose", input: {{kind: input.kind}}'


async def published(stage: Stage, name: str, router: str) -> CompiledGraph:
    text = GRAPH.replace("NAME", name).replace("ROUTER", router)
    if "function" in router:
        text += "edges:\n  - route -> parse_pdf\n  - route -> parse_word\n"
    graph = stage.compile(text, files={FILE: TEXT})
    await stage.publish(graph, files={FILE: TEXT})
    return graph


@pytest.mark.parametrize(("name", "router"), [("by-field", FIELD), ("by-function", FUNCTION)])
async def test_a_router_leads_to_the_node_that_it_names(stage: Stage, name: str, router: str) -> None:
    """The node that value or function name is the only one that runs."""
    graph = await published(stage, name, router)

    handle = await stage.start(graph, {"kind": "word"})
    await ended(handle, stage)

    assert ["route#1", "parse_word#1"] == await tasks(handle.id, stage)


@pytest.mark.parametrize(
    ("name", "router", "kind", "error", "said"),
    [
        ("no-route", FIELD, "excel", "NoRoute", "'excel'"),
        ("no-edge", FUNCTION, "excel", "BadToolOutput", '"parse_excel"'),
        ("bool", FUNCTION, "bool", "BadToolOutput", "true, to which"),
        ("crash", FUNCTION, "crash", "JobFailed", "no such kind"),
    ],
)
async def test_a_choice_that_is_none_blocks_and_names_the_value(
    stage: Stage, name: str, router: str, kind: str, error: str, said: str
) -> None:
    """An unknown value, a node without an edge or a crash parks the router; an operator says where to go on."""
    graph = await published(stage, name, router)
    handle = await stage.start(graph, {"kind": kind})
    wait = await waiting(handle.id, stage, "blocked")
    found = json.loads(bytes(wait["error"]))

    await stage.command(handle.id, "override", "route", 1, arguments={"next": "parse_pdf"})
    await ended(handle, stage)

    assert (error, True) == (found["type"], said in found["message"]), found
    assert "parse_pdf#1" in await tasks(handle.id, stage)


@pytest.fixture(params=["add_dynamic_router", "conditional"])
async def built(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> CompiledGraph:
    """A graph of Python whose router is a function, as its author imports it; published as a program does."""
    path = tmp_path / FILE
    path.parent.mkdir()
    path.write_text(TEXT)
    choose = runpy.run_path(str(path))["choose"]
    made = AgentGraph(f"built-{request.param.replace('_', '-')}", "1.0.0")
    made = made.with_input(kind={"type": "string", "required": True})
    made = made.with_spine(principal="svc-support", expires_in="1h")
    for name in ("begin", "parse_pdf", "parse_word"):
        made = made.add_node(name, type="rules", default={"ok": {"value": True}})
    if request.param == "conditional":
        made = made.conditional("begin", choose, "parse_pdf", "parse_word", input={"kind": "input.kind"})
    else:
        made = made.add_dynamic_router("begin", choose, ["parse_pdf", "parse_word"], input={"kind": "input.kind"})
    compiled = compile_authored(whole_project(tmp_path), made)
    connection = await connect(str(stage.api.conninfo))
    async with connection:
        await publish(connection, Signer("ada", stage.keys["ada"]), compiled.graph, compiled.texts)
    return compiled.graph


async def test_a_function_that_the_builder_was_given_chooses_on_the_server(stage: Stage, built: CompiledGraph) -> None:
    """Each of its answers leads to the node of that name."""
    handles = [await stage.start(built, {"kind": kind}) for kind in ("pdf", "word")]
    for handle in handles:
        await ended(handle, stage)

    assert [["begin#1", "begin_router#1", f"parse_{kind}#1"] for kind in ("pdf", "word")] == [
        await tasks(handle.id, stage) for handle in handles
    ]


async def test_an_answer_that_is_no_target_of_the_builders_router_blocks(stage: Stage, built: CompiledGraph) -> None:
    """It takes no way that nobody chose, the last one neither; an operator says where to go on."""
    handle = await stage.start(built, {"kind": "excel"})
    wait = await waiting(handle.id, stage, "blocked")
    found = json.loads(bytes(wait["error"]))

    await stage.command(handle.id, "override", "begin_router", 1, arguments={"next": "parse_pdf"})
    await ended(handle, stage)

    assert ("BadToolOutput", True) == (found["type"], '"parse_excel"' in found["message"])
    assert ["begin#1", "parse_pdf#1"] == [task for task in await tasks(handle.id, stage) if "router" not in task]


async def test_a_function_whose_text_was_changed_in_the_store_is_not_run(stage: Stage) -> None:
    """The text must have the digest that the graph pins."""
    graph = await published(stage, "changed", FUNCTION)
    changed = graph.model_copy(
        update={
            "version": "1.0.1",
            "nodes": {
                **graph.nodes,
                "route": graph.nodes["route"].model_copy(
                    update={"router": graph.nodes["route"].router.model_copy(update={"source": digest_of(b"other")})}  # type: ignore[union-attr] # it has one
                ),
            },
        }
    )
    await stage.publish(CompiledGraph.model_validate(changed.model_dump()))
    await stage.sql(
        "insert into texts (tenant, digest, kind, bytes) values ('default', %(digest)s, 'source', %(bytes)s)",
        digest=digest_of(b"other"),
        bytes=TEXT.encode(),
    )

    handle = await stage.start(CompiledGraph.model_validate(changed.model_dump()), {"kind": "pdf"})
    wait = await waiting(handle.id, stage, "blocked")

    assert "TamperedRow" == json.loads(bytes(wait["error"]))["type"]
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
