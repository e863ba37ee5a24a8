"""What holds in every run of every graph, whatever happens first."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.unit.engine.odd import odd_event
from tests.unit.engine.shapes import early_finals, graphs
from tests.unit.engine.world import Choose, Effects, Plain, Ran, Rough, World
from vertebra.engine import events
from vertebra.engine.advance import advance
from vertebra.engine.commands import Call, CancelCall, Command, Decide, OpenApproval, Park
from vertebra.engine.state import EMPTY, from_json, path, resting, to_json
from vertebra.schemas.call import Note
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import node_of

many = settings(
    max_examples=20,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=tuple(HealthCheck),
)
behaviours = pytest.mark.parametrize("effects", [Plain(), Rough()], ids=["plain", "rough"])
seeds = st.integers(0, 10**6)


def shuffled(seed: int) -> Choose:
    return Random(seed).randrange


@behaviours
@many
@given(made=graphs(), seed=seeds)
def test_any_order_gives_the_same_run(effects: Effects, made: CompiledGraph, seed: int) -> None:
    """First come, last come and shuffled: the same end, outputs, state, calls with values, notes and visits."""
    first = World(made, effects, lambda count: 0).run({"x": 1}).facts()
    last = World(made, effects, lambda count: count - 1).run({"x": 1}).facts()
    mixed = World(made, effects, shuffled(seed)).run({"x": 1}).facts()

    assert first == last == mixed


@behaviours
@many
@given(made=graphs(), seed=seeds)
def test_every_write_and_result_arrives(effects: Effects, made: CompiledGraph, seed: int) -> None:
    """Each success that writes to an `append` channel is one item of it; the latest result of a node is its output."""
    ran = World(made, effects, shuffled(seed)).run({"x": 1})
    assert ran.finish is not None
    output = ran.finish.output
    assert isinstance(output, dict)
    state = output["state"]
    assert isinstance(state, dict)
    left = [(node, visit) for node, visit, status in path(ran.state) if status in ("succeeded", "overridden")]
    log = state.get("log", [])
    assert isinstance(log, list)

    assert sum("log" in made.nodes[node].write for node, _ in left) == len(log)
    for node, result in _latest(ran).items():
        assert result == output[f"r_{node}"]


def _latest(ran: Ran) -> dict[str, object]:
    """The results of `llm` and `tool` nodes whose last visit succeeded."""
    found: dict[str, tuple[int, object]] = {}
    for event in ran.events:
        if isinstance(event, events.CallFinished) and not event.activity_id.startswith("agent"):
            node, visit = node_of(event.activity_id)
            found[node] = max(found.get(node, (0, None)), (visit, event.result.result), key=lambda pair: pair[0])
    visits = ran.state.visits
    steps = ran.state.steps
    good = {node for node, count in visits.items() if steps.get(f"{node}#{count}") == "succeeded"}
    return {node: result for node, (visit, result) in found.items() if node in good and visit == visits[node]}


@behaviours
@many
@given(made=graphs(), seed=seeds)
def test_every_routing_decision_is_written_once(effects: Effects, made: CompiledGraph, seed: int) -> None:
    """No note is lost or doubled: every visit that was left has one plan, and what came back was carried again."""
    ran = World(made, effects, shuffled(seed)).run({"x": 1})
    written = ran.written()
    notes = [Note.model_validate_json(text) for text in written]
    plans = Counter((note.node, note.visit) for note in notes if note.kind == "plan" and note.next)
    left = Counter((node, visit) for node, visit, status in path(ran.state))

    assert all(count == 1 for text, count in written.items() if '"plan"' in text)
    assert left == plans


@behaviours
@many
@given(made=graphs(), seed=seeds)
def test_the_same_events_give_the_same_commands(effects: Effects, made: CompiledGraph, seed: int) -> None:
    """A run is replayed from its events alone."""
    ran = World(made, effects, shuffled(seed), checks=False).run({"x": 1})
    state, commands = EMPTY, list[Command]()
    for event in ran.events:
        state, more = advance(made, state, event)
        commands += more

    assert ran.state == state
    assert ran.commands == commands


@behaviours
@many
@given(made=graphs().flatmap(early_finals), seed=seeds)
def test_an_early_end_is_clean(effects: Effects, made: CompiledGraph, seed: int) -> None:
    """Nothing starts once the run is ending, and every call is reported before it ends."""
    ran = World(made, effects, shuffled(seed)).run({"x": 1})
    assert ran.finish is not None
    ending = max((ran.commands.index(one) for one in ran.commands if isinstance(one, CancelCall)), default=None)

    assert "completed" == ran.finish.end
    if ending is not None and ran.state.phase == "ended" and _ends_early(ran, ending):
        assert not any(isinstance(one, Call | Decide | OpenApproval) for one in ran.commands[ending:])


def _ends_early(ran: Ran, ending: int) -> bool:
    """Whether the last cancel belongs to the end of the run, not to a node that was left."""
    return not any(isinstance(one, Call) for one in ran.commands[ending + 1 :])


@behaviours
@many
@given(made=graphs(races=True), seed=seeds)
def test_where_the_first_wins_the_recorded_order_alone_decides(
    effects: Effects, made: CompiledGraph, seed: int
) -> None:
    """Joins that do not wait for all: every run ends, and its events alone give the same run again."""
    ran = World(made, effects, shuffled(seed)).run({"x": 1})
    state, commands = EMPTY, list[Command]()
    for event in ran.events:
        state, more = advance(made, from_json(to_json(state)), event)
        commands += more

    assert ran.finish is not None
    assert "completed" == ran.finish.end
    assert ran.state == state
    assert ran.commands == commands
    assert not ran.state.past


@behaviours
@many
@given(made=graphs(races=True), seed=seeds, other=seeds)
def test_a_run_that_begins_again_takes_the_same_winners(
    effects: Effects, made: CompiledGraph, seed: int, other: int
) -> None:
    """With what the envelopes say of its joins, any other order comes to the same output; no loser is called anew."""
    first = World(made, effects, shuffled(seed)).run({"x": 1})
    again = World(made, effects, shuffled(other)).run({"x": 1}, first.past())
    assert first.finish is not None
    assert again.finish is not None

    assert first.finish.output == again.finish.output
    assert set(again.calls) <= set(first.calls)
    assert {past.won for past in again.past()} <= {past.won for past in first.past()}


@many
@given(made=graphs(races=True), seed=seeds, other=seeds)
def test_what_the_envelopes_say_of_another_way_hangs_no_run(made: CompiledGraph, seed: int, other: int) -> None:
    """A run that behaves otherwise than before lets go what stands still, and ends."""
    first = World(made, Plain(), shuffled(seed)).run({"x": 1})
    again = World(made, Rough(), shuffled(other)).run({"x": 1}, first.past())

    assert again.finish is not None
    assert "completed" == again.finish.end
    assert not any(branch.stage == "standing" for branch in again.state.branches.values())


@many
@given(made=st.booleans().flatmap(lambda races: graphs(races=races)), seed=seeds, start=st.booleans())
def test_no_event_breaks_a_run(made: CompiledGraph, seed: int, start: bool) -> None:
    """Any event in any state is taken or ignored, never raised at; the state stays a value that can be stored."""
    random = Random(seed)
    state, _ = advance(made, EMPTY, events.Admitted({"x": 1})) if start else (EMPTY, ())
    for _ in range(150):
        event = odd_event(made, state, random)
        before = to_json(state)
        after, commands = advance(made, state, event)

        assert before == to_json(state)
        assert after == from_json(json.loads(json.dumps(to_json(after))))
        assert any(isinstance(one, Park) for one in commands) == (resting(after) and bool(after.waits))
        assert after.calls or after.decides or after.waits or after.phase in ("new", "ended")
        state = after
