"""Small graphs to attack."""

from __future__ import annotations

from tests.stage import Stage
from vertebra.schemas.graph import CompiledGraph

SPEAKER = "  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}\n"


def text_of(
    name: str, nodes: str, *, principal: bool = True, budget: str = "usd: 1.00, tokens: 1000000", **more: str
) -> str:
    """A graph with one input `text`, one channel `said` and the agent `speaker`."""
    spine = more.get("spine", "expires_in: 1h, permissions: [execute_tools]")
    named = "principal: svc-support, " if principal else ""
    return (
        f"graph: {name}\nversion: 1.0.0\n"
        + more.get("input", "input: {text: {type: string, required: true}}\n")
        + "output: {said: {type: string, from: state.said}}\n"
        + "state: {said: {type: string, default: nothing}}\n"
        + f"spine: {{{named}{spine}, budget: {{{budget}, on_breach: {more.get('breach', 'reject')}}}}}\n"
        + "agents:\n"
        + SPEAKER
        + more.get("agents", "")
        + "nodes:\n"
        + nodes
        + more.get("edges", "")
        + more.get("rest", "")
    )


def speaks(node: str, *, write: bool = False, extra: str = "") -> str:
    """A node that asks the speaker."""
    writes = ", write: {said: text}" if write else ""
    return f"  {node}: {{agent: speaker, input: {{text: input.text}}{writes}{extra}}}\n"


async def published(stage: Stage, text: str) -> CompiledGraph:
    """A graph of this text, published."""
    graph = stage.compile(text)
    await stage.publish(graph)
    return graph
