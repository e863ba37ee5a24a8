"""An agent's turns: tools in parallel, answers in order, and what ends a conversation."""

from __future__ import annotations

from tests.make import agent, graph, llm
from tests.unit.engine.drive import Drive
from vertebra.engine import events
from vertebra.engine.commands import Call
from vertebra.schemas.call import ArtifactRef, CallResult, ToolCall
from vertebra.schemas.canonical import Json


def _agent(max_turns: int = 4, on_error: str | None = None, **given: Json) -> Drive:
    nodes = [agent("a", {"q": "input.q"}, on_error=on_error), llm("b", {"e": "?error.type"})]
    return Drive(graph(nodes, "a -> end", output={"y": "?a.y"}, max_turns=max_turns), {"q": "?", **given})


def _ask(run: Drive, activity: str, *arguments: Json) -> None:
    """The model asks for one `search` per argument."""
    asked = tuple(ToolCall(id=f"c{index}", tool="search", arguments=value) for index, value in enumerate(arguments))
    run.feed(events.CallFinished(activity, CallResult(tool_calls=asked, transcript=f"after {activity}")))


def test_tools_of_a_turn_run_in_parallel() -> None:
    """Each tool call is a call of its own, with the agent's context, the model's arguments and its id."""
    run = _agent()
    _ask(run, "a#1.1", {"q": 1}, {"q": 2})
    calls = run.of(Call)

    assert ["a#1.1.1", "a#1.1.2"] == run.calls
    assert [("tool", "search", "c0", {"q": 1}), ("tool", "search", "c1", {"q": 2})] == [
        (call.input.kind, call.input.tool, call.input.tool_call, call.input.values) for call in calls
    ]
    assert ["searcher", "searcher"] == [call.agent for call in calls]
    assert "a: search" == calls[0].summary


def test_the_next_turn_reads_the_answers_in_the_models_order() -> None:
    """Whoever answers first, the messages stand in the order asked for; the transcript goes by its digest."""
    run = _agent()
    _ask(run, "a#1.1", {"q": 1}, {"q": 2})
    run.done("a#1.1.2", "two", failed=True)
    assert [] == run.calls
    run.done("a#1.1.1", "one")
    [call] = run.of(Call)

    assert ("a#1.2", "after a#1.1", 2) == (call.activity_id, call.input.transcript, call.input.turn)
    assert [("c0", {"y": "one"}, False), ("c1", {"y": "two"}, True)] == [
        (message.tool_call, message.content, message.failed) for message in call.input.messages
    ]
    assert {} == call.input.values
    run.done("a#1.2", "done")
    assert {"y": "done"} == run.finish.output


def test_a_large_answer_of_a_tool_goes_by_reference() -> None:
    """The message holds the artifact, not the bytes."""
    ref = ArtifactRef(uri="a/1", sha256="00", size=5_000_000)
    run = _agent()
    _ask(run, "a#1.1", {})
    run.done("a#1.1.1", None, ref=ref)

    assert [ref] == [message.ref for message in run.of(Call)[0].input.messages]


def test_a_failed_tool_is_an_answer() -> None:
    """The model reads the failure and may try something else; the node goes on."""
    run = _agent()
    _ask(run, "a#1.1", {})
    run.fails("a#1.1.1", "ToolFailed")
    [message] = run.of(Call)[0].input.messages

    assert ({"error": "it broke"}, True) == (message.content, message.failed)


def test_arguments_that_are_no_object_are_answered_at_once() -> None:
    """Nothing is called; the model reads what was wrong."""
    run = _agent()
    _ask(run, "a#1.1", "q=1")
    [call] = run.of(Call)

    assert ("a#1.2", [{"error": "the arguments must be an object"}]) == (
        call.activity_id,
        [message.content for message in call.input.messages],
    )


def test_tools_asked_for_in_the_last_turn_are_not_called() -> None:
    """Nobody would read their answers: the node fails, and its fallback reads why."""
    run = _agent(max_turns=1, on_error="b")
    _ask(run, "a#1.1", {})

    assert ["b#1.1"] == run.calls
    assert {"e": "MaxTurns"} == run.of(Call)[0].input.values


def test_retry_allows_one_more_turn() -> None:
    """The tools that the model asked for last are called then, and it answers."""
    run = _agent(max_turns=1)
    _ask(run, "a#1.1", {"q": 1})
    assert [("a#1", "MaxTurns")] == run.blocked
    run.answers("a#1", "retry")
    assert ["a#1.1.1"] == run.calls
    run.done("a#1.1.1", "one")
    assert ["a#1.2"] == run.calls
    run.done("a#1.2", "done")
    assert {"y": "done"} == run.finish.output


def test_an_unknown_outcome_blocks_and_keeps_the_other_answers() -> None:
    """The other call's answer is kept; retry sends only the unknown one again."""
    run = _agent()
    _ask(run, "a#1.1", {"q": 1}, {"q": 2})
    run.fails("a#1.1.1", "UnknownOutcome")
    run.done("a#1.1.2", "two")
    assert [("a#1", "UnknownOutcome")] == run.blocked
    run.answers("a#1", "retry")
    assert ["a#1.1.1"] == run.calls
    run.done("a#1.1.1", "one")
    assert [{"y": "one"}, {"y": "two"}] == [message.content for message in run.of(Call)[0].input.messages]


def test_a_late_outcome_answers_by_itself() -> None:
    """An effect that turns out to have happened needs no operator."""
    run = _agent()
    _ask(run, "a#1.1", {"q": 1})
    run.fails("a#1.1.1", "UnknownOutcome")
    run.done("a#1.1.1", "one")

    assert ["a#1.2"] == run.calls
    assert [] == run.blocked


def test_a_late_outcome_does_not_hide_another_unknown_one() -> None:
    """The node stays blocked until every call is known."""
    run = _agent()
    _ask(run, "a#1.1", {"q": 1}, {"q": 2})
    run.fails("a#1.1.1", "UnknownOutcome")
    run.fails("a#1.1.2", "UnknownOutcome")
    run.done("a#1.1.1", "one")

    assert [("a#1", "UnknownOutcome")] == run.blocked


def test_leaving_a_blocked_agent_cancels_its_other_calls() -> None:
    """Skip goes on at once; the cancelled call's report comes later and changes nothing."""
    nodes = [agent("a", {"q": "input.q"}), llm("b")]
    run = Drive(graph(nodes, "a -> b"), {"q": "?"})
    _ask(run, "a#1.1", {"q": 1}, {"q": 2}, {"q": 3})
    run.holds("a#1.1.3", "H")
    run.fails("a#1.1.1", "UnknownOutcome")
    run.answers("a#1", "skip")

    assert (["a#1.1.2"], ["b#1.1"]) == (run.cancels, run.calls)
    assert {} == run.state.waits
    run.feed(events.CallCancelled("a#1.1.2"))
    run.answers("H", "approve")
    run.done("a#1.1.2", "late")
    assert () == run.last


def test_a_denied_tool_call_is_an_answer() -> None:
    """The model reads that a person said no, and why."""
    run = _agent()
    _ask(run, "a#1.1", {"q": 1})
    run.holds("a#1.1.1", "A")
    run.answers("A", "deny", by="ada", reason="too dear")
    [message] = run.of(Call)[0].input.messages

    assert ({"error": "the approval was denied by ada: too dear"}, True) == (message.content, message.failed)


def test_an_edited_tool_call_is_sent_again() -> None:
    """The same call with the person's arguments, naming the approval."""
    run = _agent()
    _ask(run, "a#1.1", {"q": 1})
    run.holds("a#1.1.1", "A")
    run.answers("A", "edit", {"q": 9})
    [call] = run.of(Call)

    assert ("a#1.1.1", {"q": 9}, "A") == (call.activity_id, call.input.values, call.input.approval)


def test_money_refused_to_a_tool_call_fails_the_node() -> None:
    """A denied top-up is no answer for the model."""
    run = _agent(on_error="b")
    _ask(run, "a#1.1", {"q": 1}, {"q": 2})
    run.holds("a#1.1.1", "T", "top_up")
    run.answers("T", "deny")

    assert (["a#1.1.2"], ["b#1.1"]) == (run.cancels, run.calls)


def test_an_llm_node_may_not_ask_for_tools() -> None:
    """Only an agent has tools: such a reply fails its node."""
    run = Drive(graph([llm("a")]))
    _ask(run, "a#1.1", {})

    assert [("a#1", "OutputInvalid")] == run.blocked
