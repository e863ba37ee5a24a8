"""What a node's calls look like: their activity ids, their inputs and the labels that the Web UI shows."""

from __future__ import annotations

from vertebra.engine.commands import Call
from vertebra.engine.state import Branch, Pending
from vertebra.engine.values import Given, flat_facts
from vertebra.engine.working import Work
from vertebra.schemas.call import CallInput, CallKind, Message
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import activity_id

SUMMARY_CHARS = 80


def send_model(
    work: Work,
    branch: Branch,
    turn: int,
    given: Given,
    transcript: str | None = None,
    messages: tuple[Message, ...] = (),
) -> None:
    """Ask the model of an `llm` or `agent` node. Later turns pass the transcript by its digest, and what is new."""
    # not validated: every part was validated when it came in, and a large value would be walked again
    request = CallInput.model_construct(
        kind="llm",
        node=branch.at,
        visit=branch.visit,
        turn=turn,
        values=given.values,
        refs=given.refs,
        ref_paths=given.ref_paths,
        transcript=transcript,
        messages=messages,
        facts=flat_facts(work, branch, work.node(branch).facts),
    )
    work.send(activity_id(branch.at, branch.visit, turn), Pending(branch.id, input=request))


def send_node_call(work: Work, branch: Branch, kind: CallKind, given: Given) -> None:
    """Make the one call of a node that is a call and nothing else."""
    node = work.node(branch)
    request = CallInput.model_construct(
        kind=kind,
        node=branch.at,
        visit=branch.visit,
        values=given.values,
        refs=given.refs,
        ref_paths=given.ref_paths,
        tool=node.tool,
        facts=flat_facts(work, branch, node.facts),
    )
    work.send(activity_id(branch.at, branch.visit), Pending(branch.id, input=request))


def send_model_tool(
    work: Work, branch: Branch, turn: int, index: int, tool: str, tool_call: str, arguments: dict[str, Json]
) -> None:
    """Call a tool that a model asked for; `index` counts from 1 within the turn."""
    request = CallInput.model_construct(
        kind="tool",
        node=branch.at,
        visit=branch.visit,
        turn=turn,
        values=arguments,
        tool=tool,
        tool_call=tool_call,
        facts=flat_facts(work, branch, work.node(branch).facts),
    )
    work.send(activity_id(branch.at, branch.visit, turn, index), Pending(branch.id, input=request))


def command(graph: CompiledGraph, key: str, request: CallInput) -> Call:
    """The command that carries a request out."""
    node = graph.nodes[request.node]
    label = f"{node.id}: {request.tool or node.agent or node.type}"
    return Call(
        activity_id=key,
        input=request,
        agent=node.agent or "",
        timeout_s=node.timeout_s,
        deadline_s=node.deadline_s,
        summary=label if len(label) <= SUMMARY_CHARS else label[: SUMMARY_CHARS - 1] + "…",
    )
