"""How runs end: early finals, missing outputs, aborts and cancels; and that no envelope is lost on the way."""

from __future__ import annotations

from tests.make import graph, human, llm, rules, tool
from tests.unit.engine.drive import Drive
from vertebra.engine import events
from vertebra.engine.commands import Call, Finish
from vertebra.schemas.graph import CompiledGraph


def _race() -> CompiledGraph:
    """Whoever of b and c answers first ends the run."""
    return graph([llm("a"), llm("b"), llm("c"), llm("d")], "a -> b, c, d", output={"b": "?b.y", "a": "a.y"})


def _racing() -> Drive:
    run = Drive(_race())
    run.done("a#1.1", "a")
    return run


def test_a_final_edge_cancels_the_other_branches_in_order() -> None:
    """The run ends once every cancelled call was reported, whatever the report says."""
    run = _racing()
    run.done("b#1.1", "b")
    assert (["c#1.1", "d#1.1"], []) == (run.cancels, run.of(Finish))
    run.done("d#1.1", "late")
    run.feed(events.Woken())
    assert () == run.last
    run.feed(events.CallCancelled("c#1.1"))

    assert ("completed", {"a": "a", "b": "b"}) == (run.finish.end, run.finish.output)


def test_cancelled_branches_are_noted() -> None:
    """The record says which nodes were open when the run ended."""
    run = _racing()
    run.holds("d#1.1", "A")
    run.done("b#1.1", "b")
    run.fails("c#1.1", "VendorDown")

    cancelled = [(note.node, note.kind) for note in run.notes() if note.status == "cancelled"]
    assert [("c", "task"), ("d", "task")] == cancelled
    assert [("c", 1, "cancelled"), ("d", 1, "cancelled")] == run.path[2:]


def test_what_only_waits_does_not_hold_the_end() -> None:
    """Blocked nodes, held calls and questions are dropped at once."""
    nodes = [llm("a"), llm("b"), tool("c"), human("h", {}), llm("d")]
    run = Drive(graph(nodes, "a -> b, c, h, d"))
    run.done("a#1.1", "a")
    run.holds("c#1", "A")
    run.fails("d#1.1")
    run.done("b#1.1", "b")

    assert "completed" == run.finish.end


def test_a_missing_output_does_not_end_the_run() -> None:
    """The node that would have ended it blocks and names the output; an override that brings it ends it."""
    run = Drive(graph([llm("a")], output={"z": "a.z"}))
    run.done("a#1.1", "no z")
    assert [("a#1", "MissingOutput")] == run.blocked
    run.answers("a#1", "override", {"z": 1})

    assert {"z": 1} == run.finish.output


def test_an_abort_ends_the_run_with_its_reason() -> None:
    """Calls in flight are cancelled first."""
    run = _racing()
    run.feed(events.CommandGiven("abort", by="ada", reason="wrong ticket"))
    assert ["b#1.1", "c#1.1", "d#1.1"] == run.cancels
    for name in "bcd":
        run.feed(events.CallCancelled(f"{name}#1.1"))

    assert ("aborted", "ada") == (run.finish.end, run.finish.by)
    assert run.finish.error is not None
    assert "wrong ticket" == run.finish.error.message


def test_a_cancel_ends_a_parked_run_at_once() -> None:
    """Nothing is in flight, so nothing is waited for."""
    run = Drive(graph([tool("t")]))
    run.holds("t#1", "A")
    run.feed(events.CancelAsked("temporal"))

    assert ("cancelled", "temporal") == (run.finish.end, run.finish.by)


def test_a_run_may_be_cancelled_before_it_is_let_in() -> None:
    """Nothing has happened, and nothing will."""
    run = Drive(_race(), start=False)
    run.feed(events.CancelAsked("temporal"))
    assert "cancelled" == run.finish.end
    run.feed(events.Admitted({}))
    assert () == run.last


def test_a_guardrail_may_abort_the_run() -> None:
    """The error is the run's end, and no fallback is taken."""
    nodes = [llm("a"), llm("b", on_error="d"), llm("c"), llm("d")]
    run = Drive(graph(nodes, "a -> b, c"))
    run.done("a#1.1", "a")
    run.fails("b#1.1", "Aborted")
    assert ["c#1.1"] == run.cancels
    run.holds("c#1.1", "A")

    assert "aborted" == run.finish.end
    assert run.finish.error is not None
    assert ("Aborted", "b") == (run.finish.error.type, run.finish.error.node)


def test_the_first_end_counts() -> None:
    """While the cancelled calls are awaited another end changes nothing."""
    run = _racing()
    run.done("b#1.1", "b")
    run.feed(events.CancelAsked("temporal"))
    run.feed(events.CallCancelled("c#1.1"))
    run.feed(events.CallCancelled("d#1.1"))

    assert "completed" == run.finish.end


def test_every_routing_decision_is_noted_once() -> None:
    """Edges taken travel with the next call, in order; the last ones with the end."""
    nodes = [llm("a"), rules("r", default={"k": "=1"}), llm("b")]
    run = Drive(graph(nodes, "a -> r", "r -> b"))
    run.done("a#1.1", "a")
    [call] = run.of(Call)
    assert [("a", "plan", ("r",)), ("r", "task", ()), ("r", "plan", ("b",))] == [
        (note.node, note.kind, note.next) for note in call.input.notes
    ]
    assert {"k": 1} == call.input.notes[1].result
    run.done("b#1.1", "b")
    assert [("b", ("end",))] == [(note.node, note.next) for note in run.finish.notes]


def test_notes_of_a_call_that_was_not_made_come_again() -> None:
    """Held, cancelled and refused calls wrote nothing; a failed attempt did."""
    nodes = [llm("a"), tool("t"), llm("b")]
    held, tried = Drive(graph(nodes, "a -> t", "t -> b")), Drive(graph(nodes, "a -> t", "t -> b"))
    for run in (held, tried):
        run.done("a#1.1", "a")
    held.holds("t#1", "A")
    tried.fails("t#1", attempts=1)

    assert 2 == [note.node for note in held.notes()].count("a")
    assert 1 == [note.node for note in tried.notes()].count("a")


def test_one_command_carries_a_bounded_number_of_notes() -> None:
    """A long way without calls is written bit by bit, its rest at the end."""
    names = [f"r{index:03}" for index in range(60)]
    edges = [f"{left} -> {right}" for left, right in zip([*names, "a"], [*names[1:], "a", "b"], strict=True)]
    run = Drive(graph([*(rules(name, default={}) for name in names), llm("a"), llm("b")], *edges))
    sizes = [len(run.of(Call)[0].input.notes)]
    run.done("a#1.1", "a")
    sizes.append(len(run.of(Call)[0].input.notes))
    run.done("b#1.1", "b")
    sizes.append(len(run.finish.notes))

    assert [50, 50, 22] == sizes


def test_large_results_in_notes_are_spread_over_commands() -> None:
    """Notes add at most about 64 KiB of results to one call."""
    nodes = [rules(f"r{index}", default={"x": "input.x"}) for index in range(4)]
    run = Drive(graph([*nodes, llm("a")], "r0 -> r1", "r1 -> r2", "r2 -> r3", "r3 -> a"), {"x": "x" * 30_000})

    assert ["r0", "r0", "r1", "r1"] == [note.node for note in run.of(Call)[0].input.notes]
