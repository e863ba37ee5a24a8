"""The public signatures as a user's code meets them: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

from vertebra.audit import Audit, open_audit
from vertebra.audit.query import Page
from vertebra.audit.trace import Traced
from vertebra.compiler import AgentGraph, Catalogue, Project, compile_graph, compile_text, read_graph, read_project
from vertebra.schemas.audit import Entry
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.tool import ToolSpec
from vertebra.settings import Layers, Loaded, Settings, find_project, load
from vertebra.tools.contract import Tool, ToolContext, tool


@tool(effect="pure")
def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


@tool(
    effect="keyed",
    runs="worker",
    permissions=["persist_data"],
    timeout="10s",
    cost_microusd=5,
    rate_limit="10/m",
    security_level="high",
    secrets=["mail"],
    name="send",
)
async def send_it(text: str, context: ToolContext) -> dict[str, str]:
    """Send a text."""
    return {"id": context.idempotency_key, "text": text}


def tools() -> None:
    assert_type(add, Tool)
    assert_type(send_it, Tool)
    assert_type(add.name, str)
    assert_type(add.spec, ToolSpec)


def compiler(text: str, prompts: Mapping[str, Prompt]) -> None:
    project = read_project(Path("support"))
    catalogue = Catalogue(prompts=prompts, tools={"add": add.spec}, roles=frozenset({"support_lead"}))
    graph = read_graph(text, "graphs/support.yaml")

    assert_type(project, Project)
    assert_type(graph, AgentGraph)
    assert_type(compile_graph(graph, catalogue), CompiledGraph)
    assert_type(compile_text(text, "graphs/support.yaml", catalogue), CompiledGraph)


async def asking(dsn: str) -> None:
    async with open_audit(dsn) as audit:
        assert_type(audit, Audit)
        page = await audit.query(
            operation_type="llm_call", success=False, time_range={"last": "1h"}, limit=10, after=None
        )
        assert_type(page, Page)
        assert_type(page.entries[0].entry, Entry)
        assert_type(page.next, str | None)
        assert_type(await audit.trace(correlation_id="c"), list[Traced])
        sums = await audit.aggregate(metric="llm_cost", group_by="agent_id", time_range={"last": "30d"})
        assert_type(sums[0].value, int)


def settings(environ: Mapping[str, str]) -> None:
    loaded = load(find_project(Path()), environ, Layers(flags={"tenant": "acme"}, services={}))

    assert_type(loaded, Loaded)
    assert_type(loaded.settings, Settings)
    assert_type(loaded.origins["tenant"], str)
