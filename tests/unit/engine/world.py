"""A world in which every effect is a pure function of its activity id and values, and things happen in any order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vertebra.engine import events
from vertebra.engine.advance import advance
from vertebra.engine.commands import Call, CancelCall, Command, Decide, Finish, Load, OpenApproval, Park
from vertebra.engine.state import EMPTY, RunState, from_json, next_delay, resting, to_json
from vertebra.schemas.call import CallError, CallInput, CallResult, Hold, Note, ToolCall
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.run import Answer, Ask, DecideAnswer, Past

Choose = Callable[[int], int]
"""Which of so many pending events happens next."""
MAX_EVENTS = 2000
MAX_ROUNDS = 8
"""Conditions of later visits are false, so that every cycle is left."""


def chance(*parts: object) -> int:
    """A number that depends on the parts alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


class Effects(Protocol):
    """How calls, conditions and people behave."""

    def call(self, activity_id: str, given: CallInput, time: int) -> events.Event: ...

    def decide(self, key: str, source: str, facts: dict[str, Json], time: int) -> DecideAnswer: ...

    def answer(self, ask: Ask, time: int) -> Answer: ...


class Plain:
    """Every call succeeds, every condition is decided by its facts, every person approves."""

    def call(self, activity_id: str, given: CallInput, time: int) -> events.Event:
        return events.CallFinished(activity_id, result_of(activity_id, given))

    def decide(self, key: str, source: str, facts: dict[str, Json], time: int) -> DecideAnswer:
        late = int(key.partition("#")[2].partition(":")[0]) > MAX_ROUNDS
        return DecideAnswer(key=key, value=not late and chance(source, json_text(facts)) % 2 == 0)

    def answer(self, ask: Ask, time: int) -> Answer:
        if ask.kind == "blocked":
            return Answer(ref=ask.ref, verb="override", arguments=made_result((ask.ref, time)))
        verbs = {"approval": "approve", "top_up": "top_up", "renewal": "renew"}
        return Answer.model_validate({"ref": ask.ref, "verb": verbs[ask.kind], "by": "ada"})


class Rough(Plain):
    """Calls fail or are held, conditions break, people deny, skip, edit and retry: all by name, never by order.

    Tool calls of models only fail or ask for approval: what stops an agent while others of its calls are in flight
    depends on when it comes.
    """

    def call(self, activity_id: str, given: CallInput, time: int) -> events.Event:
        fate = chance("fate", activity_id, time) % 12
        if time < 3 and fate == 0:
            return events.CallFailed(activity_id, CallError(type="VendorDown", message="no answer", attempts=3))
        if time < 3 and fate == 1 and given.tool_call is None:
            return events.CallFailed(activity_id, CallError(type="UnknownOutcome", message="lost"))
        if time < 3 and fate in (2, 3):
            kinds = ("approval", "top_up", "renewal") if given.tool_call is None else ("approval",)
            kind = kinds[chance("kind", activity_id, time) % len(kinds)]
            hold = Hold.model_validate({"kind": kind, "id": f"hold:{activity_id}:{time}"})
            return events.HoldOpened(activity_id, hold)
        return super().call(activity_id, given, time)

    def decide(self, key: str, source: str, facts: dict[str, Json], time: int) -> DecideAnswer:
        if time == 0 and chance("broken", key) % 16 == 0:
            return DecideAnswer(key=key, error="no such key")
        return super().decide(key, source, facts, time)

    def answer(self, ask: Ask, time: int) -> Answer:
        fate = chance("answer", ask.ref, time) % 4
        if ask.kind == "blocked":
            if fate == 0 and time == 0:
                return Answer(ref=ask.ref, verb="retry")
            return Answer(ref=ask.ref, verb="skip") if fate == 1 and time == 0 else super().answer(ask, time)
        if fate == 0:
            return Answer(ref=ask.ref, verb="deny", by="bo", reason="no")
        if fate == 1 and ask.kind == "approval":
            return Answer(ref=ask.ref, verb="edit", by="bo", arguments={"edited": ask.ref})
        return Answer(ref=ask.ref, verb="expired") if fate == 2 else super().answer(ask, time)


def made_result(name: object) -> dict[str, Json]:
    number = chance(name)
    some_map: Json = {f"k{number % 3}": number % 5}
    text = f"t{number % 13}"
    return {"n": (number % 1000) / 7, "i": number % 97, "text": text, "map": some_map, "decision": text}


def result_of(activity_id: str, given: CallInput) -> CallResult:
    """A tool call of an agent's model, a tool's answer, or a node's result: by activity id and input alone."""
    seen = json_text([given.values, [message.model_dump(mode="json") for message in given.messages]])
    number = chance(activity_id, seen)
    if given.kind == "llm" and given.node.startswith("agent") and number % 2:
        asked = [
            ToolCall(id=f"c{index}", tool="search", arguments="broken" if number % 7 == 0 else {"q": number % 11})
            for index in range(1 + number % 3)
        ]
        return CallResult(tool_calls=tuple(asked), transcript=f"transcript:{activity_id}")
    return CallResult(result=made_result((activity_id, seen)))


@dataclass
class Ran:
    """What happened in one run."""

    state: RunState = EMPTY
    finish: Finish | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    returned: list[Note] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    events: list[events.Event] = field(default_factory=list)

    def written(self) -> Counter[str]:
        """The notes that were carried, without those that came back."""
        carried = Counter(note.model_dump_json() for note in self.notes)
        carried.subtract(note.model_dump_json() for note in self.returned)
        return carried

    def past(self) -> tuple[Past, ...]:
        """What the joins of this run settled, as its envelopes tell a run that begins again."""
        found: dict[str, Past] = {}
        for text in self.written():
            note = Note.model_validate_json(text)
            if note.kind == "plan" and isinstance(note.result, dict):
                given = {"won": note.result["won"], "lost": note.result["cancelled"]}
                past = Past.model_validate({"node": note.node, "visit": note.visit, **given})
                found[f"{past.node}#{past.visit}"] = past
        return tuple(found.values())

    def facts(self) -> tuple[object, ...]:
        """What must not depend on the order of things."""
        notes = self.written()
        visits = sorted(self.state.visits.items())
        end = None if self.finish is None else (self.finish.end, json_text(self.finish.output))
        return end, sorted(self.calls), sorted(notes.items()), visits, sorted(self.state.steps.items())


class World:
    """Carries out commands; `choose` says which pending event happens next."""

    def __init__(self, graph: CompiledGraph, effects: Effects, choose: Choose, checks: bool = True) -> None:
        self.graph, self.effects, self.choose, self.checks = graph, effects, choose, checks
        self.ran = Ran()
        self.pending: list[events.Event] = []
        self.flying: dict[str, CallInput] = {}
        self.times: Counter[str] = Counter()

    def run(self, given: Json, past: tuple[Past, ...] = ()) -> Ran:
        self.feed(events.Admitted(given, past))
        for _ in range(MAX_EVENTS):
            if self.ran.finish is not None:
                return self.ran
            if self.pending:
                self.feed(self.pending.pop(self.choose(len(self.pending))))
            else:
                assert next_delay(self.ran.state) is not None, f"the run hangs: {to_json(self.ran.state)}"
                self.feed(events.TimerFired("reread"))
        raise AssertionError("the run does not end")

    def feed(self, event: events.Event) -> None:
        self.ran.events.append(event)
        if isinstance(event, events.CallFinished | events.CallFailed | events.CallCancelled | events.HoldOpened):
            given = self.flying.pop(event.activity_id, None)
            if given is not None and not _was_made(event):
                self.ran.returned.extend(given.notes)
        self.ran.state, commands = advance(self.graph, self.ran.state, event)
        if self.checks:
            self._check(commands)
        for command in commands:
            self.ran.commands.append(command)
            self._carry_out(command)

    def _check(self, commands: Sequence[Command]) -> None:
        state = self.ran.state
        assert state == from_json(to_json(state))
        parked = any(isinstance(command, Park) for command in commands)
        assert parked == (resting(state) and bool(state.waits))

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Call):
            self._call(command)
        elif isinstance(command, Decide):
            answers = [
                self.effects.decide(request.key, request.source, request.facts, self._time(request.key))
                for request in command.requests
            ]
            self.pending.append(events.Decided(command.id, tuple(answers)))
        elif isinstance(command, OpenApproval):
            name = f"{command.node}#{command.visit}"
            self.pending.append(events.HoldOpened(name, Hold(kind="approval", id=f"human:{name}:{command.round}")))
        elif isinstance(command, Load):
            self.ran.notes.extend(command.notes)
            self._load(command)
        elif isinstance(command, CancelCall):
            self._cancel(command)
        elif isinstance(command, Finish):
            assert not self.flying, "a call is in flight at the end"
            self.ran.notes.extend(command.notes)
            self.ran.finish = command

    def _call(self, command: Call) -> None:
        assert command.activity_id not in self.flying
        assert len(command.summary) <= 80
        self.flying[command.activity_id] = command.input
        self.ran.notes.extend(command.input.notes)
        self.ran.calls.append((command.activity_id, json_text(command.input.values)))
        time = self._time(command.activity_id)
        self.pending.append(self.effects.call(command.activity_id, command.input, time))

    def _cancel(self, command: CancelCall) -> None:
        """A call in flight ends as it would have, or is reported as cancelled."""
        assert command.activity_id in self.flying
        if chance("cancel", command.activity_id) % 2:
            reports = (events.CallFinished, events.CallFailed, events.HoldOpened)
            self.pending = [
                event
                for event in self.pending
                if not (isinstance(event, reports) and event.activity_id == command.activity_id)
            ]
            self.pending.append(events.CallCancelled(command.activity_id))

    def _load(self, command: Load) -> None:
        """Every load finds each standing answer again, until the run has taken it."""
        queued = {event.answer.ref for event in self.pending if isinstance(event, events.HoldAnswered)}
        for ask in command.asks:
            if ask.ref not in queued:
                answer = self.effects.answer(ask, self._time(f"ask {ask.ref}"))
                self.pending.append(events.HoldAnswered(answer))

    def _time(self, name: str) -> int:
        self.times[name] += 1
        return self.times[name] - 1


def _was_made(event: events.Event) -> bool:
    """Whether the call went through the gate, which then wrote its notes."""
    made = isinstance(event, events.CallFailed) and event.error.attempts > 0
    return made or isinstance(event, events.CallFinished)
