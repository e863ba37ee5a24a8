"""Holds, blocked nodes and what people answer; what is shown meanwhile, and when answers are looked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.make import agent, channel, graph, human, llm, rules, tool
from tests.unit.engine.drive import Drive
from vertebra.engine import events
from vertebra.engine.commands import Call, Decide, Load, OpenApproval, Park, SetState, StartTimer
from vertebra.engine.state import next_delay, resting, waits
from vertebra.schemas.call import CallResult, ToolCall
from vertebra.schemas.graph import CompiledGraph, Node


def _send(on_error: str | None = None) -> CompiledGraph:
    nodes = [tool("t", {"to": "input.to"}, on_error=on_error), llm("b", {"e": "?error", "y": "?t.y"})]
    return graph(nodes, "t -> b")


def test_a_held_call_is_sent_again_with_its_approval() -> None:
    """The same activity and values; the gate checks everything again."""
    run = Drive(_send(), {"to": "x"})
    run.holds("t#1", "A")
    [ask] = waits(run.state)
    assert ("A", "approval", "t", 1, "t#1") == (ask.ref, ask.kind, ask.node, ask.visit, ask.activity_id)
    run.answers("A", "approve")
    [call] = run.of(Call)

    assert ("t#1", {"to": "x"}, "A") == (call.activity_id, call.input.values, call.input.approval)


@pytest.mark.parametrize(("kind", "verb"), [("top_up", "top_up"), ("renewal", "renew")])
def test_money_and_time_let_a_call_go_on_with_its_approval(kind: str, verb: str) -> None:
    """What a person approved before stays approved."""
    run = Drive(_send(), {"to": "x"})
    run.holds("t#1", "A")
    run.answers("A", "approve")
    run.holds("t#1", "M", kind)
    run.answers("M", "approve")
    assert (Park(),) == run.last
    run.answers("M", verb)

    assert "A" == run.of(Call)[0].input.approval


def test_an_edit_replaces_the_arguments() -> None:
    """The tool runs with exactly what the person wrote; no object is no edit."""
    run = Drive(_send(), {"to": "x"})
    run.holds("t#1", "A")
    run.answers("A", "edit", {"to": "z"})
    assert ({"to": "z"}, "A") == (run.of(Call)[0].input.values, run.of(Call)[0].input.approval)
    run.holds("t#1", "B")
    run.answers("B", "edit", "to z")
    assert [("t#1", "BadAnswer")] == run.blocked


@pytest.mark.parametrize(("verb", "kind"), [("deny", "ApprovalDenied"), ("expired", "ApprovalExpired")])
def test_a_refused_approval_fails_the_node(verb: str, kind: str) -> None:
    """The fallback is taken and reads the reason; without one the node blocks and retry asks again."""
    guarded, bare = Drive(_send("b"), {"to": "x"}), Drive(_send(), {"to": "x"})
    for run in (guarded, bare):
        run.holds("t#1", "A")
        run.answers("A", verb, by="ada", reason="no")
    error = guarded.of(Call)[0].input.values["e"]
    assert isinstance(error, dict)
    assert (kind, "t", 1) == (error["type"], error["node"], error["visit"])
    assert [("t#1", kind)] == bare.blocked
    bare.answers("t#1", "retry")
    assert ("t#1", None) == (bare.of(Call)[0].activity_id, bare.of(Call)[0].input.approval)


def test_an_answer_counts_once() -> None:
    """The same answer again finds no wait."""
    run = Drive(_send(), {"to": "x"})
    run.holds("t#1", "A")
    run.answers("A", "approve")
    run.answers("A", "approve")

    assert () == run.last


def test_one_renewal_answers_every_call_that_waits_for_it() -> None:
    """Several calls of one context wait under one reference."""
    nodes = [llm("a"), tool("b"), tool("c"), rules("d", default={})]
    run = Drive(graph(nodes, "a -> b, c", "b, c -> d"))
    run.done("a#1.1", "a")
    run.holds("b#1", "context", "renewal")
    run.holds("c#1", "context", "renewal")
    run.answers("context", "renew")

    assert ["b#1", "c#1"] == run.calls


def test_a_result_of_a_held_call_counts() -> None:
    """The effect happened, so nobody needs to decide any more."""
    run = Drive(_send(), {"to": "x"})
    run.holds("t#1", "A")
    run.done("t#1", "sent")

    assert ["b#1.1"] == run.calls
    assert () == waits(run.state)


def test_a_failure_takes_the_fallback_or_blocks() -> None:
    """The error of the failed call is readable in the fallback."""
    run = Drive(_send("b"), {"to": "x"})
    run.fails("t#1")
    error = run.of(Call)[0].input.values["e"]

    assert isinstance(error, dict)
    assert ("VendorDown", "it broke", "t", 1, 3) == tuple(
        error[name] for name in ("type", "message", "node", "visit", "attempts")
    )


@pytest.mark.parametrize("kind", ["UnknownOutcome", "Cancelled"])
def test_what_nobody_knows_always_blocks(kind: str) -> None:
    """No fallback may guess; retry sends the same call again."""
    run = Drive(_send("b"), {"to": "x"})
    run.fails("t#1", kind)
    assert [("t#1", kind)] == run.blocked
    run.answers("t#1", "retry")
    assert ["t#1"] == run.calls


def test_a_call_cancelled_from_outside_blocks() -> None:
    """Somebody cancelled an activity by hand: a person says what is to be done."""
    run = Drive(_send("b"), {"to": "x"})
    run.feed(events.CallCancelled("t#1"))

    assert [("t#1", "Cancelled")] == run.blocked


def test_skip_leaves_no_result() -> None:
    """The plain edge is taken, and a reader finds nothing."""
    run = Drive(_send(), {"to": "x"})
    run.fails("t#1")
    run.answers("t#1", "skip")

    assert ["b#1.1"] == run.calls
    assert {} == run.of(Call)[0].input.values
    assert ("t", 1, "skipped") == run.path[0]


def test_skip_takes_the_else_edge() -> None:
    """Conditions are not asked: there is no result to read."""
    run = Drive(graph([llm("a"), llm("b"), llm("c")], "a -> b when a.y == 1", "a -> c else"))
    run.fails("a#1.1")
    run.answers("a#1", "skip")

    assert ["c#1.1"] == run.calls


def test_a_node_without_a_plain_or_else_edge_cannot_be_skipped() -> None:
    """It blocks again and says so, once, however often the skip comes; an override gets out."""
    nodes = [llm("a"), llm("b"), llm("c")]
    run = Drive(graph(nodes, "a -> b when a.y == 1", "a -> c when a.y == 2"))
    run.fails("a#1.1")
    run.answers("a#1", "skip")
    assert [("a#1", "NoEdge")] == run.blocked
    assert 1 == len(run.of(Load))
    run.answers("a#1", "skip")
    assert (Park(),) == run.last
    run.answers("a#1", "override", {"y": 1})
    assert 1 == len(run.of(Decide))


def test_an_override_is_the_result() -> None:
    """It writes, its edges are taken, and the path says that it was by hand."""
    run = Drive(_send(), {"to": "x"})
    run.fails("t#1")
    run.answers("t#1", "override", {"y": "by hand"})

    assert {"y": "by hand"} == run.of(Call)[0].input.values
    assert ("t", 1, "overridden") == run.path[0]


def test_an_override_takes_back_what_the_node_wrote() -> None:
    """A node that wrote and then found no edge writes once, not twice."""
    state = {"log": channel("list", "append")}
    made = graph(
        [llm("a", write={"log": "y"}), llm("b")], "a -> b when a.y == 'right'", state=state, output={"log": "state.log"}
    )
    run = Drive(made)
    run.done("a#1.1", "wrong")
    run.decides(False)
    assert [("a#1", "NoEdge")] == run.blocked
    run.answers("a#1", "override", {"y": "right"})
    run.decides(True)
    run.done("b#1.1", "b")

    assert {"log": ["right"]} == run.finish.output


def test_an_override_that_does_not_fit_is_tried_once() -> None:
    """A standing answer comes with every look; the same one again changes nothing, another one is tried."""
    made = graph([llm("a", write={"s": "y"})], state={"s": channel("string")}, output={"s": "state.s"})
    run = Drive(made)
    run.fails("a#1.1")
    run.answers("a#1", "override", {"y": 5})
    assert [("a#1", "WrongType")] == run.blocked
    run.answers("a#1", "override", {"y": 5})
    assert (Park(),) == run.last
    run.answers("a#1", "override", {"y": "right"})
    assert {"s": "right"} == run.finish.output


def test_each_block_asks_for_its_own_retry() -> None:
    """The second block of a visit is answered by the second retry; a new visit counts anew."""
    run = Drive(_send(), {"to": "x"})
    run.fails("t#1")
    assert [1] == [ask.round for ask in waits(run.state)]
    run.answers("t#1", "retry")
    run.fails("t#1")
    assert [2] == [ask.round for ask in waits(run.state)]


def test_a_failed_condition_of_an_edge_blocks() -> None:
    """Neither true nor false: retry decides again."""
    run = Drive(graph([llm("a", on_error="c"), llm("b"), llm("c")], "a -> b when a.y == 1", "a -> c else"))
    run.done("a#1.1", "x")
    run.decides(None)
    assert [("a#1", "ConditionError")] == run.blocked
    run.answers("a#1", "retry")
    run.decides(True)
    assert ["b#1.1"] == run.calls


def test_a_failed_condition_of_a_rule_fails_the_node() -> None:
    """A rules node has a fallback like any other."""
    choice = ("input.x > 1", {"a": "=1"})
    run = Drive(graph([rules("r", choice, default={}, on_error="b"), llm("b")], "r -> end"))
    run.decides(None)

    assert ["b#1.1"] == run.calls


def test_rules_without_a_true_rule_or_a_default_fail() -> None:
    """Nothing to give is a failure."""
    run = Drive(graph([rules("r", ("input.x > 1", {"a": "=1"}))]))
    run.decides(False)

    assert [("r#1", "NoRule")] == run.blocked


def test_an_expired_question_is_asked_again_by_retry() -> None:
    """A new round is a new approval."""
    run = Drive(graph([human("h", {"text": "=1"})], output={"d": "h.decision"}))
    run.holds("h#1", "A")
    run.answers("A", "expired")
    assert [("h#1", "ApprovalExpired")] == run.blocked
    run.answers("h#1", "retry")
    assert [OpenApproval("h", 1, 2, {"text": 1})] == run.of(OpenApproval)
    run.holds("h#1", "B")
    run.answers("A", "approve")
    assert (Park(),) == run.last
    run.answers("B", "approve", by="ada")
    assert {"d": "approve"} == run.finish.output


def test_a_withdrawn_question_is_asked_again_at_once() -> None:
    """The run had ended meanwhile: a resumed one asks in a new round."""
    run = Drive(graph([human("h", {"text": "=1"})], output={"d": "h.decision"}))
    run.holds("h#1", "A")
    run.answers("A", "withdrawn")

    assert [OpenApproval("h", 1, 2, {"text": 1})] == run.of(OpenApproval)
    assert [] == run.blocked


def _three() -> Drive:
    """Three tools in parallel."""
    nodes = [llm("a"), tool("b"), tool("c"), tool("d"), rules("z", default={})]
    run = Drive(graph(nodes, "a -> b, c, d", "b, c, d -> z"))
    run.done("a#1.1", "a")
    return run


def test_what_is_shown_follows_what_waits() -> None:
    """A decision comes before a blocked node, and that before money."""
    run = _three()
    run.holds("d#1", "M", "top_up")
    assert [SetState("over_budget")] == run.of(SetState)
    run.fails("c#1")
    assert [SetState("blocked")] == run.of(SetState)
    run.holds("b#1", "A")
    assert [SetState("awaiting_human")] == run.of(SetState)
    run.answers("A", "approve")
    assert [SetState("blocked")] == run.of(SetState)
    run.answers("c#1", "skip")
    run.answers("M", "top_up")
    assert [SetState("running")] == run.of(SetState)


def test_a_new_wait_is_loaded_with_all_others() -> None:
    """One look asks for everything that waits, in node order, and the timer starts anew."""
    run = _three()
    run.holds("d#1", "M", "top_up")
    run.feed(events.TimerFired("reread"))
    run.holds("b#1", "A")

    assert [["b", "d"]] == [[ask.node for ask in command.asks] for command in run.of(Load)]
    assert [StartTimer("reread", 60)] == run.of(StartTimer)


def test_the_reread_timer_slows_down_and_stops() -> None:
    """1 m, 5 m, 30 m, then every 2 h; none once nothing waits."""
    run = Drive(_send(), {"to": "x"})
    run.holds("t#1", "A")
    delays = [next_delay(run.state)]
    for _ in range(4):
        run.feed(events.TimerFired("reread"))
        assert 1 == len(run.of(Load))
        delays.append(next_delay(run.state))
    assert [60, 300, 1800, 7200, 7200] == delays
    run.answers("A", "approve")
    assert [StartTimer("reread", None)] == run.of(StartTimer)


def test_a_wake_looks_even_if_nothing_waits() -> None:
    """A signed abort may be there; a wake before the run was let in is kept until then."""
    run, early = Drive(_send(), {"to": "x"}), Drive(_send(), start=False)
    run.feed(events.Woken())
    early.feed(events.Woken())
    assert () == early.last
    early.feed(events.Admitted({"to": "x"}))

    assert [Load(())] == run.of(Load)
    assert [Load(())] == early.of(Load)


def test_a_run_parks_when_only_people_can_help() -> None:
    """With a call in flight it does not; every look at a parked run is a safe point again."""
    run = _three()
    run.holds("b#1", "A")
    run.fails("c#1")
    assert ([], False) == (run.of(Park), resting(run.state))
    run.holds("d#1", "B")
    assert ([Park()], True) == (run.of(Park), resting(run.state))
    run.feed(events.Woken())
    assert [Park()] == run.of(Park)


def test_an_opening_approval_is_in_flight() -> None:
    """Before the row is written nobody can be asked."""
    run = Drive(graph([human("h", {})]))

    assert not resting(run.state)


def test_skipping_a_failed_condition_keeps_the_result() -> None:
    """The node is done: only the choice of its edge is skipped."""
    made = graph([llm("a"), llm("b"), llm("c", {"y": "a.y"})], "a -> b when a.y == 1", "a -> c else")
    run = Drive(made)
    run.done("a#1.1", "kept")
    run.decides(None)
    run.answers("a#1", "skip")

    assert {"y": "kept"} == run.of(Call)[0].input.values
    assert ("a", 1, "succeeded") == run.path[0]
    assert [((), "skipped"), (("c",), "succeeded")] == [
        (note.next, note.status) for note in run.notes() if note.kind == "plan"
    ]


def test_a_withdrawn_approval_is_asked_for_again() -> None:
    """A resumed run asks in a new round: a call without its approval, a question anew."""
    called, asked = Drive(_send(), {"to": "x"}), Drive(graph([human("h", {})]))
    called.holds("t#1", "A")
    called.answers("A", "withdrawn")
    asked.holds("h#1", "A")
    asked.answers("A", "withdrawn")

    assert [("t#1", None)] == [(call.activity_id, call.input.approval) for call in called.of(Call)]
    assert [2] == [command.round for command in asked.of(OpenApproval)]


def test_the_path_shows_what_waits_and_what_is_blocked() -> None:
    """A visit that a person must help is neither running nor done."""
    run = _three()
    run.holds("b#1", "A")
    run.fails("c#1")

    assert [("b", 1, "waiting"), ("c", 1, "blocked"), ("d", 1, "running")] == run.path[1:]


def test_a_tool_that_failed_fails_its_node() -> None:
    """Nobody reads a tool node's failure but its fallback."""
    run = Drive(_send("b"), {"to": "x"})
    run.done("t#1", "no", failed=True)
    error = run.of(Call)[0].input.values["e"]

    assert isinstance(error, dict)
    assert "ToolFailed" == error["type"]


@pytest.mark.parametrize("make", [llm, agent, tool, human])
def test_every_kind_of_node_blocks_on_a_missing_value(make: Callable[..., Node]) -> None:
    """Whatever the node does, it does not start without what it requires."""
    run = Drive(graph([make("a", {"x": "input.none"})]))

    assert [("a#1", "MissingValue")] == run.blocked
    assert [] == [command for command in run.log if isinstance(command, Call | OpenApproval)]


def test_one_answer_may_close_several_waits_of_a_node() -> None:
    """Two tool calls wait for one renewal; refused once, the node is left, and the second wait is gone."""
    asked = (ToolCall(id="c0", tool="search", arguments={}), ToolCall(id="c1", tool="search", arguments={}))
    run = Drive(graph([agent("a", on_error="b"), llm("b")], "a -> end"))
    run.feed(events.CallFinished("a#1.1", CallResult(tool_calls=asked, transcript="t")))
    run.holds("a#1.1.1", "context", "renewal")
    run.holds("a#1.1.2", "context", "renewal")
    run.answers("context", "deny")

    assert ["b#1.1"] == run.calls
    assert {} == run.state.waits


def test_calls_are_sent_in_order_of_their_numbers() -> None:
    """The tenth tool call of a turn comes after the second, whatever their names sort like."""
    asked = tuple(ToolCall(id=f"c{index}", tool="search", arguments={}) for index in range(10))
    run = Drive(graph([agent("a")]))
    run.feed(events.CallFinished("a#1.1", CallResult(tool_calls=asked, transcript="t")))
    for index in (10, 2):
        run.holds(f"a#1.1.{index}", "context", "renewal")
    run.answers("context", "renew")

    assert ["a#1.1.2", "a#1.1.10"] == run.calls


def test_a_retry_of_an_earlier_block_changes_nothing() -> None:
    """A late answer to the first block of a visit does not answer the second one."""
    run = Drive(_send(), {"to": "x"})
    run.fails("t#1")
    run.answers("t#1", "retry", round=1)
    run.fails("t#1")
    run.answers("t#1", "retry", round=1)
    assert (Park(),) == run.last

    run.answers("t#1", "retry", round=2)

    assert ["t#1"] == run.calls


def test_a_late_outcome_ends_a_round() -> None:
    """What was signed about the doubt is not taken for an answer to what blocks the visit afterwards."""
    nodes = [tool("t", {"to": "input.to"}, write={"n": "y"})]
    run = Drive(graph(nodes, state={"n": channel("integer", default=0)}), {"to": "x"})
    run.fails("t#1", "UnknownOutcome")
    run.done("t#1", "no number")

    assert [2] == [ask.round for ask in waits(run.state)]
    run.answers("t#1", "retry", round=1)
    assert (Park(),) == run.last


def test_what_was_tried_in_vain_is_named_in_the_next_question() -> None:
    """So that it is not given as an answer again, and a retry counts after it."""
    nodes = [tool("t", {"to": "input.to"}, write={"n": "y"})]
    run = Drive(graph(nodes, state={"n": channel("integer", default=0)}), {"to": "x"})
    run.fails("t#1")
    run.answers("t#1", "override", {"y": "no number"}, command="C")

    assert ["C"] == [ask.tried for ask in waits(run.state)]
    run.answers("t#1", "retry", round=1)
    assert [2] == [ask.round for ask in waits(run.state)]
