"""Events that may or may not fit: ids of calls that are open, closed or never were, in the mouth of anybody."""

from __future__ import annotations

from random import Random

from vertebra.engine import events
from vertebra.engine.state import RunState, waits
from vertebra.schemas.call import ArtifactRef, CallError, CallResult, Hold, ToolCall
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.run import Answer, DecideAnswer

VALUES: tuple[Json, ...] = (None, 1, 1e308, "text", [1], {}, {"n": 1e308, "i": 10**400, "text": "t", "map": {"k": 1}})
VERBS = ("approve", "edit", "deny", "expired", "withdrawn", "top_up", "renew", "retry", "skip", "override")
ERRORS = ("VendorDown", "UnknownOutcome", "Cancelled", "Refused")


def odd_event(made: CompiledGraph, state: RunState, random: Random) -> events.Event:
    """An event about something in this run, or about nothing."""
    makers = (_report, _report, _report, _answer, _answer, _decided, _other)
    return random.choice(makers)(made, state, random)


def _place(made: CompiledGraph, state: RunState, random: Random) -> str:
    node = random.choice(sorted(made.nodes))
    made_up = f"{node}#{random.randint(1, 3)}" + random.choice(["", ".1", ".2", ".1.1", ".1.2"])
    return random.choice([made_up, *sorted(state.calls) * 2])


def _report(made: CompiledGraph, state: RunState, random: Random) -> events.Event:
    place = _place(made, state, random)
    kind = random.randrange(6)
    if kind == 0:
        error = CallError(type=random.choice(ERRORS), message="odd", attempts=random.randrange(2))
        return events.CallFailed(place, error)
    if kind == 1:
        return events.CallCancelled(place)
    if kind == 2:
        return events.HoldOpened(place, Hold(kind=random.choice(["approval", "top_up", "renewal"]), id=f"h{place}"))
    return events.CallFinished(place, _result(random))


def _result(random: Random) -> CallResult:
    if random.randrange(4) == 0:
        asked = ToolCall(id="c", tool="search", arguments=random.choice(VALUES))
        return CallResult(tool_calls=(asked,) * random.randint(1, 3), transcript=random.choice([None, "t"]))
    if random.randrange(5) == 0:
        return CallResult(ref=ArtifactRef(uri="a/1", sha256="00", size=1))
    return CallResult(result=random.choice(VALUES), failed=random.randrange(6) == 0)


def _answer(made: CompiledGraph, state: RunState, random: Random) -> events.Event:
    refs = [ask.ref for ask in waits(state)] * 3 + [f"{random.choice(sorted(made.nodes))}#1", "nobody"]
    given = {"ref": random.choice(refs), "verb": random.choice(VERBS), "arguments": random.choice(VALUES)}
    return events.HoldAnswered(Answer.model_validate(given))


def _decided(made: CompiledGraph, state: RunState, random: Random) -> events.Event:
    """Answers for whoever asked; some without a value, some missing."""
    found = random.choice([*sorted(state.decides), "d99"])
    branches = [state.branches[key] for key in state.decides.get(found, ())]
    keys = [f"{branch.at}#{branch.visit}:{index}" for branch in branches for index in range(random.randint(0, 4))]
    answers = [DecideAnswer(key=key, value=random.choice([True, False, None])) for key in keys]
    return events.Decided(found, tuple(answers))


def _other(made: CompiledGraph, state: RunState, random: Random) -> events.Event:
    rare = random.randrange(40)
    if rare == 0:
        return events.CancelAsked("temporal")
    if rare == 1:
        return events.CommandGiven("abort", by="ada")
    if rare == 2:
        return events.CallFailed(_place(made, state, random), CallError(type="Aborted", message="rule"))
    timer = events.TimerFired(random.choice(["reread", "other"]))
    usual: list[events.Event] = [events.Woken(), timer, events.Admitted({"x": 2}), events.CommandGiven("dance")]
    return random.choice(usual)
