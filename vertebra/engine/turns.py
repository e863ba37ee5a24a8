"""An agent's turns: the model, the tools it asks for all at once, the model again, until it answers.

A failed or denied tool is an answer that the model reads; only what nobody knows stops the node.
"""

from __future__ import annotations

from dataclasses import replace

from vertebra.engine.failures import block, fail
from vertebra.engine.sending import send_model, send_model_tool
from vertebra.engine.state import Branch, NodeResult, Turn
from vertebra.engine.values import Given, resolve
from vertebra.engine.working import Work
from vertebra.schemas.call import CallError, CallInput, CallResult, Message


def start_agent(work: Work, branch: Branch) -> None:
    """The first turn of a visit."""
    node = work.node(branch)
    agent = work.graph.agents[node.agent or ""]
    _ask_model(work, replace(branch, turn=Turn(1, agent.max_turns)), ())


def model_answered(work: Work, branch: Branch, result: CallResult) -> None:
    """The model's reply: the node's result, or tool calls."""
    turn = branch.turn
    assert turn is not None
    if not result.tool_calls:
        work.then("complete", replace(branch, kept=NodeResult(branch.visit, result.result, result.ref)))
        return
    asked = result.tool_calls
    turn = Turn(turn.number, turn.limit, result.transcript, asked, (None,) * len(asked))
    branch = work.put(replace(branch, turn=turn))
    if turn.number >= turn.limit:
        fail(work, branch, _too_many(branch, turn), "turns")
    else:
        _ask_tools(work, branch, turn)


def one_more_turn(work: Work, branch: Branch) -> None:
    """`retry` of a node that used all its turns: what the model asked for last is done, and it may answer."""
    assert branch.turn is not None
    turn = replace(branch.turn, limit=branch.turn.limit + 1)
    _ask_tools(work, work.put(replace(branch, stage="calling", turn=turn)), turn)


def tool_answered(work: Work, branch: Branch, activity_id: str, request: CallInput, result: CallResult) -> None:
    """A tool's answer to the model."""
    message = _message(request)
    answer = message.model_copy(update={"content": result.result, "ref": result.ref, "failed": result.failed})
    _answer(work, branch, activity_id, answer)


def tool_failed(work: Work, branch: Branch, activity_id: str, request: CallInput, reason: str) -> None:
    """A failed, denied or expired tool call, as the model reads it."""
    answer = _message(request).model_copy(update={"content": {"error": reason}, "failed": True})
    _answer(work, branch, activity_id, answer)


def _answer(work: Work, branch: Branch, activity_id: str, answer: Message) -> None:
    turn = branch.turn
    assert turn is not None
    index = int(activity_id.rpartition(".")[2]) - 1
    turn = replace(turn, answers=(*turn.answers[:index], answer, *turn.answers[index + 1 :]))
    branch = work.put(replace(branch, turn=turn))
    if branch.stage != "blocked":
        _go_on(work, branch, turn)


def _go_on(work: Work, branch: Branch, turn: Turn) -> None:
    """The next turn, once every tool call of this one is answered."""
    answers = tuple(answer for answer in turn.answers if answer is not None)
    if len(answers) == len(turn.asked):
        following = Turn(turn.number + 1, turn.limit, turn.transcript)
        _ask_model(work, replace(branch, turn=following), answers)


def _ask_model(work: Work, branch: Branch, messages: tuple[Message, ...]) -> None:
    turn = branch.turn
    assert turn is not None
    # a transcript holds the rendered prompt: its values need not travel again
    given = Given() if turn.transcript is not None else resolve(work, branch, work.node(branch).values)
    if isinstance(given, CallError):
        block(work, branch, given, "enter")
        return
    branch = work.put(replace(branch, stage="calling"))
    send_model(work, branch, turn.number, given, turn.transcript, messages)


def _ask_tools(work: Work, branch: Branch, turn: Turn) -> None:
    answers: list[Message | None] = []
    for index, asked in enumerate(turn.asked, start=1):
        arguments = {} if asked.arguments is None else asked.arguments
        if isinstance(arguments, dict):
            send_model_tool(work, branch, turn.number, index, asked.tool, asked.id, arguments)
            answers.append(None)
        else:
            content = {"error": "the arguments must be an object"}
            answers.append(Message(tool_call=asked.id, tool=asked.tool, content=content, failed=True))
    turn = replace(turn, answers=tuple(answers))
    _go_on(work, work.put(replace(branch, turn=turn)), turn)


def _message(request: CallInput) -> Message:
    return Message(tool_call=request.tool_call or "", tool=request.tool or "")


def _too_many(branch: Branch, turn: Turn) -> CallError:
    return CallError(
        type="MaxTurns",
        message=f"the agent of node {branch.at!r} asked for tools again after {turn.number} turns",
        node=branch.at,
        visit=branch.visit,
        do="retry allows one more turn; or raise the agent's max_turns, or override the node",
    )
