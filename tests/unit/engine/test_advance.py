"""The plain way through a graph: sequences, values, conditions, cycles, and events that fit nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.make import agent, channel, graph, human, llm, rules, tool
from tests.unit.engine.drive import Drive
from vertebra.engine import events
from vertebra.engine.advance import advance
from vertebra.engine.commands import Call, Decide, OpenApproval
from vertebra.engine.state import EMPTY, from_json, to_json
from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.errors import UnknownEngine


def test_a_sequence_runs_node_after_node() -> None:
    """Each result opens the next node; the last one ends the run with the graph's outputs."""
    made = graph([llm("a", {"x": "input.x"}), tool("b", {"to": "a.y"})], "a -> b", output={"z": "b.y", "w": "?b.none"})
    run = Drive(made, {"x": 1})

    assert ["a#1.1"] == run.calls
    assert {"x": 1} == run.of(Call)[0].input.values
    run.done("a#1.1", "one")
    assert ["b#1"] == run.calls
    assert ({"to": "one"}, "send_email") == (run.of(Call)[0].input.values, run.of(Call)[0].input.tool)
    run.done("b#1", "two")
    assert ("completed", {"z": "two"}) == (run.finish.end, run.finish.output)
    assert [("a", 1, "succeeded"), ("b", 1, "succeeded")] == run.path


def test_a_call_says_whose_it_is_and_what() -> None:
    """Context, time limits and a short label come from the node."""
    run = Drive(graph([llm("a", timeout_s=60, deadline_s=99), tool("b" * 60, tool="t" * 60)], f"a -> {'b' * 60}"))
    [first] = run.of(Call)
    run.done("a#1.1", "one")
    [second] = run.of(Call)

    assert ("writer", 60, 99, "a: writer") == (first.agent, first.timeout_s, first.deadline_s, first.summary)
    assert "" == second.agent
    assert 80 == len(second.summary)


def test_facts_are_flat_and_leave_out_what_is_absent() -> None:
    """A call carries the dotted paths that its node's expressions read."""
    made = graph([llm("a", facts=("input.x", "state.none", "a.y"))])

    [call] = Drive(made, {"x": {"deep": 1}}).of(Call)

    assert {"input.x": {"deep": 1}} == call.input.facts


def test_the_first_true_condition_is_taken() -> None:
    """Conditions are asked for together, with nested facts; an error after the true one does not matter."""
    made = graph(
        [llm("a"), llm("b"), llm("c"), llm("d")],
        "a -> b when a.y == 'x'",
        "a -> c when a.kind == 'k' && state.none > 1",
        "a -> d else",
    )
    run = Drive(made)
    run.done("a#1.1", {"y": "no", "kind": "k"})
    [asked] = run.of(Decide)

    assert [{"a": {"y": "no"}}, {"a": {"kind": "k"}, "state": {}}] == [request.facts for request in asked.requests]
    assert ("a.kind", "state.none") == asked.requests[1].reads
    run.decides(True, None)
    assert ["b#1.1"] == run.calls


def test_no_true_condition_takes_the_else_edge() -> None:
    """The else edge is for when nothing else is true."""
    run = Drive(graph([llm("a"), llm("b"), llm("c")], "a -> b when a.y == 'x'", "a -> c else"))
    run.done("a#1.1", "no")
    run.decides(False)

    assert ["c#1.1"] == run.calls


def test_conditions_of_one_event_are_one_decide() -> None:
    """All conditions that are ready together are one command, in node order."""
    choice = ("a.y == 'x'", {"n": "=1"})
    made = graph([llm("a"), rules("d", choice), rules("b", choice), rules("c")], "a -> d, b", "d, b -> c")
    run = Drive(made)
    run.done("a#1.1", "x")

    assert [["b#1:0", "d#1:0"]] == [[request.key for request in command.requests] for command in run.of(Decide)]


def test_rules_give_the_first_true_then_or_the_default() -> None:
    """A rules node needs no call: its values are resolved where it stands."""
    made = graph(
        [rules("r", ("input.x > 1", {"a": "input.x", "b": "?input.none"}), default={"a": "=0"})], output={"a": "r.a"}
    )
    big, small = Drive(made, {"x": 5}), Drive(made, {"x": 0})
    big.decides(True)
    small.decides(False)

    assert [{"a": 5}, {"a": 0}] == [big.finish.output, small.finish.output]


def test_a_rules_node_without_rules_asks_nothing() -> None:
    """The default alone is a result at once, however many such nodes follow each other."""
    names = [f"r{index:04}" for index in range(3000)]
    edges = [f"{left} -> {right}" for left, right in pairwise(names)]
    run = Drive(graph([rules(name, default={"a": "=1"}) for name in names], *edges, output={"a": f"{names[-1]}.a"}))

    assert {"a": 1} == run.finish.output


def test_a_human_node_asks_and_its_answer_is_a_result() -> None:
    """The opened approval is a wait; the decision, even a denial, is the node's result."""
    made = graph([human("h", {"text": "input.x"})], output={"d": "h.decision", "a": "?h.answer", "by": "h.decided_by"})
    run = Drive(made, {"x": "?"})
    assert [OpenApproval("h", 1, 1, {"text": "?"})] == run.of(OpenApproval)
    run.holds("h#1", "A")
    run.answers("A", "deny", by="ada")

    assert {"d": "deny", "a": None, "by": "ada"} == run.finish.output


def test_a_cycle_counts_visits_up_to_its_cap() -> None:
    """Each arrival is a visit of its own; one more than the cap blocks, and retry allows it."""
    made = graph([llm("a", max_visits=2), llm("b")], "a -> a when a.y == 'again'", "a -> b else")
    run = Drive(made)
    run.done("a#1.1", "again")
    run.decides(True)
    assert ["a#2.1"] == run.calls
    run.done("a#2.1", "again")
    run.decides(True)
    assert [("a#3", "MaxVisits")] == run.blocked
    run.answers("a#3", "retry")
    assert ["a#3.1"] == run.calls


def test_a_missing_required_value_blocks_the_reader_by_name() -> None:
    """The complaint names node, field and path, and no fallback hides it."""
    made = graph([rules("a", default={}), llm("b", {"text": "a.y"}, on_error="c"), llm("c")], "a -> b", "b -> end")
    run = Drive(made)
    [wait] = run.state.waits.values()

    assert [("b#1", "MissingValue")] == run.blocked
    assert wait.ask.error is not None
    assert "node 'b' needs 'text' from 'a.y', which is absent" == wait.ask.error.message


def test_a_write_goes_through_its_reducer() -> None:
    """Channels start with their default and take literals, fields and optional fields."""
    state = {"log": channel("list", "append"), "n": channel("integer", "sum", 1), "s": channel("string")}
    nodes = [llm("a", write={"log": "y", "n": "=2", "s": "?none"}), llm("b", write={"log": "y", "n": "=4"})]
    run = Drive(graph(nodes, "a -> b", state=state, output={"all": "state"}))
    run.done("a#1.1", "one")
    run.done("b#1.1", "two")

    assert {"all": {"log": ["one", "two"], "n": 7}} == run.finish.output


def test_a_write_of_the_wrong_type_blocks() -> None:
    """The message names the channel, what it expects and what it got; an override writes instead."""
    run = Drive(graph([llm("a", write={"s": "y"})], state={"s": channel("string")}, output={"s": "state.s"}))
    run.done("a#1.1", {"y": 5})
    [wait] = run.state.waits.values()

    assert wait.ask.error is not None
    assert ("WrongType", True) == (wait.ask.error.type, "'s'" in wait.ask.error.message)
    assert "must be a string, not an integer" in wait.ask.error.message
    run.answers("a#1", "override", {"y": "by hand"})
    assert {"s": "by hand"} == run.finish.output


def test_a_large_value_travels_by_reference() -> None:
    """A result in an artifact reaches the next call as a reference with the path inside it."""
    ref = ArtifactRef(uri="a/1", sha256="00", size=5_000_000)
    run = Drive(graph([llm("a"), llm("b", {"t": "a.y", "n": "=1"})], "a -> b"))
    run.done("a#1.1", None, ref=ref)
    [call] = run.of(Call)

    assert ({"n": 1}, {"t": ref}, {"t": "y"}) == (call.input.values, call.input.refs, call.input.ref_paths)


def test_a_large_value_cannot_be_read_inside_the_run() -> None:
    """A node that works inside the run says so instead of going on without the value."""
    ref = ArtifactRef(uri="a/1", sha256="00", size=5_000_000)
    run = Drive(graph([llm("a"), rules("b", default={"t": "a.y"})], "a -> b"))
    run.done("a#1.1", None, ref=ref)

    assert [("b#1", "TooLarge")] == run.blocked


def test_an_event_that_fits_nothing_changes_nothing() -> None:
    """Late, repeated and foreign events leave the state as it is."""
    run = Drive(graph([llm("a"), agent("b")], "a -> b"))
    run.done("a#1.1", "one")
    before = run.state
    run.done("a#1.1", "again")
    run.fails("a#1.1")
    run.holds("x#9", "A")
    run.answers("A", "approve")
    run.feed(events.CallCancelled("a#1.1"))
    run.feed(events.Decided("d7", ()))
    run.feed(events.TimerFired("reread"))
    run.feed(events.CommandGiven("dance"))
    run.feed(events.Admitted({"x": 2}))

    assert before == run.state
    assert () == run.last


def test_nothing_follows_the_end() -> None:
    """A finished run ignores everything."""
    run = Drive(graph([llm("a")]))
    run.done("a#1.1", "one")
    before = run.state
    run.feed(events.Woken())
    run.feed(events.CancelAsked("temporal"))

    assert (before, ()) == (run.state, run.last)


def test_a_graph_of_newer_rules_is_refused() -> None:
    """A worker that does not know a graph's engine fails the task, never the run."""
    made = graph([llm("a")]).model_copy(update={"engine": 2})

    with pytest.raises(UnknownEngine, match="needs engine revision 2"):
        advance(made, EMPTY, events.Woken())


def test_a_snapshot_ignores_newer_fields_and_refuses_newer_forms() -> None:
    """Additive fields are skipped; another form is not guessed at."""
    run = Drive(graph([llm("a", {"x": "input.x"})]), {"x": 0.5})
    plain = to_json(run.state)
    assert isinstance(plain, dict)

    assert run.state == from_json({**plain, "later": 1})
    with pytest.raises(UnknownEngine, match="form 2"):
        from_json({**plain, "v": 2})


def test_facts_of_a_condition_hold_whole_objects_once() -> None:
    """A path inside an object that is read as a whole adds nothing, and the object is not changed."""
    run = Drive(graph([llm("a"), llm("b")], "a -> b when a.y.z == 1 && a.y == 2 && a.y.none == 3", "a -> end else"))
    run.done("a#1.1", {"y": {"z": 1}})
    [asked] = run.of(Decide)

    assert {"a": {"y": {"z": 1}}} == asked.requests[0].facts
    assert {"y": {"z": 1}} == run.state.branches[""].results["a"].value
