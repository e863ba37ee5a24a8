"""Joins that take the first branches: who wins, what becomes of the others, and what a run that begins again knows."""

from __future__ import annotations

from tests.make import channel, graph, human, llm, rules
from tests.unit.engine.drive import Drive
from vertebra.engine import events
from vertebra.engine.advance import advance
from vertebra.engine.commands import Call
from vertebra.engine.state import EMPTY
from vertebra.schemas.call import Note
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.run import Past

LOG = {"log": channel("list", "append")}


def _race(need: int = 1, names: str = "bcd") -> CompiledGraph:
    nodes = [llm("a"), *(llm(name, write={"log": "y"}) for name in names), llm("z", {"log": "?state.log"})]
    return graph(nodes, f"a -> {', '.join(names)}", f"{', '.join(names)} -> z need {need}", state=LOG)


def _joined(run: Drive) -> Note:
    [found] = [note for note in run.notes() if note.kind == "plan" and note.result is not None]
    return found


def test_the_first_branch_wins_and_the_others_are_cancelled_in_node_order() -> None:
    """The joined node sees the winner's writes alone, and the calls of the losers are cancelled at once."""
    run = Drive(_race())
    run.done("a#1.1", "a")
    run.done("c#1.1", "c")

    assert ["b#1.1", "d#1.1"] == run.cancels
    assert ["z#1.1"] == run.calls
    assert {"log": ["c"]} == run.of(Call)[0].input.values


def test_a_late_result_changes_nothing() -> None:
    """A loser that finished all the same, failed or asked for a person is closed without a trace in the state."""
    run = Drive(_race(names="bcde"))
    run.done("a#1.1", "a")
    run.done("c#1.1", "c")
    run.done("b#1.1", "too late")
    run.fails("d#1.1")
    run.holds("e#1.1", "h1")
    assert [] == run.blocked
    assert not run.state.waits
    run.done("z#1.1", "z")

    assert "completed" == run.finish.end
    assert ("b", 1, "cancelled") in run.path


def test_the_envelopes_say_who_won_and_who_was_cancelled() -> None:
    """The join's plan names the winners and where the losers stood; each loser has an envelope of its own."""
    run = Drive(_race(need=2))
    run.done("a#1.1", "a")
    run.done("d#1.1", "d")
    run.done("b#1.1", "b")

    note = _joined(run)
    assert ("z", 1, ("z",)) == (note.node, note.visit, note.next)
    assert {"join": 2, "won": ["/b.1", "/d.1"], "from": ["b", "d"], "cancelled": ["c#1"]} == note.result
    [lost] = [note for note in run.notes() if note.status == "cancelled"]
    assert ("c", 1, "/c.1") == (lost.node, lost.visit, lost.branch)
    assert {"log": ["b", "d"]} == run.of(Call)[0].input.values


def test_a_join_of_two_takes_what_comes_where_only_one_was_sent() -> None:
    """The number is of the branches actually taken: one branch alone is not waited for in vain."""
    nodes = [llm("a"), llm("b"), llm("c"), llm("x"), llm("z")]
    lines = ("a -> b, c", "b -> x when b.y == 1", "b -> z else", "b, c -> z need 2")
    run = Drive(graph(nodes, *lines[:2], "b -> z else", "c -> z", "b, c -> z need 2"))
    run.done("a#1.1", "a")
    run.done("b#1.1", "b")
    run.decides(True)
    run.done("c#1.1", "c")

    assert "z#1.1" in run.calls


def test_of_branches_that_come_at_once_the_first_to_be_asked_for_wins() -> None:
    """Rules need nobody else, so all come in one step: the order of the step decides, and the rest is not called."""
    nodes = [llm("a"), *(rules(name, default={"y": f'="{name}"'}, write={"log": "y"}) for name in "bc"), llm("z")]
    run = Drive(graph([*nodes, llm("d")], "a -> b, c, d", "b, c, d -> z need 1", state=LOG))
    run.done("a#1.1", "a")

    assert ["z#1.1"] == run.calls
    assert [] == run.cancels
    assert ["/b.1"] == _joined(run).result["won"]  # type: ignore[index,call-overload]  # a plain value


def test_a_blocked_loser_waits_for_nobody_any_more() -> None:
    """Its wait is closed with it; a late answer is ignored."""
    run = Drive(_race())
    run.done("a#1.1", "a")
    run.fails("b#1.1")
    assert [("b#1", "VendorDown")] == run.blocked
    run.done("c#1.1", "c")
    assert [] == run.blocked
    run.answers("b#1", "retry")

    assert [] == run.calls


def test_a_person_who_is_asked_in_vain_is_told_so() -> None:
    """A question that was being written when its branch lost goes on record as cancelled again, once it is there."""
    nodes = [llm("a"), human("ask", {"x": "?a.y"}), llm("c"), llm("z")]
    run = Drive(graph(nodes, "a -> ask, c", "ask, c -> z need 1"))
    run.done("a#1.1", "a")
    run.done("c#1.1", "c")
    run.holds("ask#1", "q1")
    run.done("z#1.1", "z")

    lost = [note for note in run.notes() if note.status == "cancelled"]
    assert [("ask", 1)] * 2 == [(note.node, note.visit) for note in lost]
    assert lost[0] == lost[1]


def test_a_condition_that_is_decided_for_a_lost_branch_is_ignored() -> None:
    """Its answers come after the branch is gone."""
    nodes = [llm("a"), llm("b"), llm("b2"), llm("c"), llm("z")]
    run = Drive(
        graph(nodes, "a -> b, c", "b -> b2 when b.y == 1", "b -> z else", "b2 -> z", "c -> z", "b, b2, c -> z need 1")
    )
    run.done("a#1.1", "a")
    run.done("b#1.1", "b")
    run.done("c#1.1", "c")
    run.decides(True)

    assert [] == run.calls
    assert ["b"] == [note.node for note in run.notes() if note.status == "cancelled"]


def test_a_branch_that_has_left_the_way_to_the_join_goes_on() -> None:
    """Only what can still come is cancelled."""
    nodes = [llm("a"), llm("b"), llm("side"), llm("side2"), llm("c"), llm("z")]
    lines = ("a -> b, c", "b -> side when b.y == 1", "b -> z else", "c -> z", "b, c -> z need 1", "side -> side2")
    run = Drive(graph(nodes, *lines))
    run.done("a#1.1", "a")
    run.done("b#1.1", "b")
    run.decides(True)
    run.done("c#1.1", "c")

    assert [] == run.cancels
    run.done("side#1.1", "s")
    assert ["side2#1.1"] == run.calls


def _again(made: CompiledGraph, *past: Past) -> Drive:
    run = Drive(made, start=False)
    run.feed(events.Admitted({}, past))
    return run


def test_a_run_that_begins_again_waits_for_who_won_before() -> None:
    """The loser of before stands still and is not called; another branch that comes first does not win."""
    run = _again(_race(), Past(node="z", visit=1, won=("/c.1",), lost=("b#1",)))
    run.done("a#1.1", "a")
    assert ["c#1.1", "d#1.1"] == run.calls
    run.done("d#1.1", "d")
    assert [] == run.calls
    run.done("c#1.1", "c")

    assert ["z#1.1"] == run.calls
    assert {"log": ["c"]} == run.of(Call)[0].input.values
    assert not run.state.past


def test_what_stood_still_goes_on_where_the_winner_of_before_went_another_way() -> None:
    """The record of another way binds nobody."""
    nodes = [llm("a"), llm("b"), llm("side"), llm("c"), llm("z")]
    lines = ("a -> b, c", "b -> side when b.y == 1", "b -> z else", "c -> z", "b, c -> z need 1", "side -> end")
    run = _again(graph(nodes, *lines), Past(node="z", visit=1, won=("/b.1",), lost=("c#1",)))
    run.done("a#1.1", "a")
    assert ["b#1.1"] == run.calls
    run.done("b#1.1", "b")
    run.decides(True)

    assert ["c#1.1", "side#1.1"] == run.calls


def test_the_record_is_used_up_by_its_visit() -> None:
    """A later round of the same join is decided by its own order."""
    made = graph(
        [llm("a", max_visits=2), llm("b"), llm("c"), llm("z")],
        "a -> b, c",
        "b, c -> z need 1",
        "z -> a when z.y == 1",
        "z -> end else",
    )
    run = _again(made, Past(node="z", visit=1, won=("/c.1",), lost=("b#1",)))
    run.done("a#1.1", "a")
    run.done("c#1.1", "c")
    run.done("z#1.1", "z")
    run.decides(True)
    run.done("a#2.1", "a")
    run.done("b#2.1" if "b#2.1" in run.state.calls else "b#1.1", "b")

    assert "z#2.1" in run.state.calls


def test_a_run_plays_the_same_with_and_without_a_snapshot_in_the_race() -> None:
    """A continued run knows what is still to be decided as before."""
    state, _ = advance(_race(), EMPTY, events.Admitted({}, (Past(node="z", visit=1, won=("/c.1",)),)))

    assert {"z#1": Past(node="z", visit=1, won=("/c.1",))} == state.past
