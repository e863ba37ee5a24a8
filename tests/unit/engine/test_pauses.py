"""Nodes that wait: for a time that is fixed once, or for an event that somebody sends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.make import graph, llm, rules, value
from tests.unit.engine.drive import Drive
from vertebra.engine import events
from vertebra.engine.commands import Call, Load, StartTimer
from vertebra.engine.pauses import instant, running_timers
from vertebra.schemas.graph import CompiledGraph, Node, Pause
from vertebra.schemas.run import Past

NOON = 1_800_000_000


def _wait(name: str = "pause", **more: Any) -> Node:
    names = ("for_s", "until", "event")
    pause = Pause(**{key: more.pop(key) for key in names if key in more})
    return Node(id=name, type="wait", pause=pause, **more)


def _paused(**more: Any) -> CompiledGraph:
    return graph([_wait(**more), llm("next", {"at": "?pause.at", "got": "?pause.payload"})], "pause -> next")


def test_a_wait_ends_when_its_timer_fires_and_its_result_is_the_time() -> None:
    """The shell tells when the timer is going to fire; that time is the node's result, whenever it really came."""
    run = Drive(_paused(for_s=7200))
    assert [StartTimer("pause#1", 7200, None, "pause: 7200 s")] == run.of(StartTimer)
    run.feed(events.TimerStarted("pause#1", NOON))
    run.feed(events.TimerFired("pause#1"))

    assert {"at": "2027-01-15T08:00:00Z"} == run.of(Call)[0].input.values
    assert {"wait": NOON} in [note.result for note in run.notes()]


def test_a_continued_run_waits_for_what_is_left() -> None:
    """The end of the wait is in the state, so the timer starts anew towards the same moment."""
    run = Drive(_paused(for_s=7200))
    run.feed(events.TimerStarted("pause#1", NOON))

    [timer] = running_timers(run.graph, run.state)
    assert ("pause#1", NOON, None) == (timer.name, timer.until, timer.seconds)


def test_a_run_that_begins_again_waits_until_the_same_moment() -> None:
    """What the envelope says of the end counts, not the length."""
    run = Drive(_paused(for_s=7200), start=False)
    run.feed(events.Admitted({}, (Past(node="pause", visit=1, until=NOON),)))

    assert [NOON] == [timer.until for timer in run.of(StartTimer)]
    assert not run.state.past


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-15T08:00:00Z", NOON),
        ("2027-01-15T09:00:00+01:00", NOON),
        ("2027-01-15T07:59:59.5Z", NOON),
        ("2027-01-15T08:00:00", None),
        ("tomorrow", None),
        (7, None),
        ("9999-12-31T23:59:59-14:00", None),
        ("9999-12-31T23:59:59.5Z", None),
    ],
)
def test_what_is_a_time(text: object, expected: int | None) -> None:
    """A time has a zone; parts of seconds are rounded up; everything else is none."""
    assert expected == instant(text)


def test_a_wait_until_a_value_that_is_no_time_fails_with_it() -> None:
    """Nobody waits for ever because of a wrong value."""
    run = Drive(_paused(until=value("input.due")), {"due": "soon"})

    assert [("pause#1", "BadTime")] == run.blocked


def test_an_event_ends_the_wait_with_its_payload() -> None:
    """Who sent what, and when, is the node's result; the run shows as running while it listens."""
    run = Drive(_paused(event="paid"))
    assert ["event"] == [ask.kind for ask in run.of(Load)[0].asks]
    assert "running" == run.state.shown
    run.answers("pause#1", "event", {"amount": 3}, at=NOON, by="ada")

    assert {"at": "2027-01-15T08:00:00Z", "got": {"amount": 3}} == run.of(Call)[0].input.values
    assert not run.state.waits


def test_an_event_that_does_not_come_in_time_fails_the_node() -> None:
    """The wait has an end of its own; a retry waits the whole time anew."""
    run = Drive(_paused(event="paid", for_s=60))
    run.feed(events.TimerStarted("pause#1", NOON))
    run.feed(events.TimerFired("pause#1"))
    assert [("pause#1", "EventExpired")] == run.blocked
    run.answers("pause#1", "retry")

    assert [60] == [timer.seconds for timer in run.of(StartTimer) if timer.summary]


def test_an_event_in_time_stops_the_clock() -> None:
    """The timer of its end is stopped, and a late fire of it changes nothing."""
    run = Drive(_paused(event="paid", for_s=60))
    run.feed(events.TimerStarted("pause#1", NOON))
    run.answers("pause#1", "event", {}, at=NOON - 1, by="ada")
    assert StartTimer("pause#1", None) in run.last
    run.feed(events.TimerFired("pause#1"))

    assert () == run.last


def test_a_timer_that_loses_a_race_is_stopped() -> None:
    """`join: any` over a wait and work: a time limit, in the words of the graph."""
    nodes = [rules("a", default={}), llm("work"), _wait(for_s=60), llm("z")]
    run = Drive(graph(nodes, "a -> work, pause", "work, pause -> z need 1"))
    run.feed(events.TimerStarted("pause#1", NOON))
    run.done("work#1.1", "w")

    assert StartTimer("pause#1", None) in run.last
    assert ["z#1.1"] == run.calls
    assert not run.state.timers


def test_an_optional_node_that_fails_is_skipped_with_its_error_on_record() -> None:
    """Its plain edge is taken without a result; what nobody knows the outcome of still waits for a person."""
    made = graph([llm("try_it", optional=True), llm("next", {"got": "?try_it.y"})], "try_it -> next")
    run = Drive(made)
    run.fails("try_it#1.1")
    assert {} == run.of(Call)[0].input.values
    [note] = [note for note in run.notes() if note.status == "skipped"]
    assert note.error["type"] == "VendorDown"  # type: ignore[index,call-overload]  # a plain value
    other = Drive(made)
    other.fails("try_it#1.1", "UnknownOutcome")

    assert [("try_it#1", "UnknownOutcome")] == other.blocked


def test_an_optional_node_without_a_plain_way_out_blocks() -> None:
    """Conditions would read what is not there."""
    nodes = [llm("try_it", optional=True), llm("next"), llm("other")]
    run = Drive(graph(nodes, "try_it -> next when try_it.y == 1", "try_it -> other when try_it.y == 2"))
    run.fails("try_it#1.1")

    assert [("try_it#1", "NoEdge")] == run.blocked
