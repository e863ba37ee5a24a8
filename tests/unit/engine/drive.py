"""Drives one run by hand: an event in, its commands out."""

from __future__ import annotations

from typing import Any, TypeVar

from vertebra.engine import events
from vertebra.engine.advance import advance
from vertebra.engine.commands import Call, CancelCall, Command, Decide, Finish, Load
from vertebra.engine.state import EMPTY, RunState, from_json, path, to_json
from vertebra.schemas.call import CallError, CallResult, Hold, Note
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.run import Answer, DecideAnswer

C = TypeVar("C", bound=Command)


class Drive:
    """A run in the hands of a test. `last` holds the commands of the last event, `log` all of them."""

    def __init__(self, graph: CompiledGraph, given: Json = None, *, start: bool = True) -> None:
        self.graph = graph
        self.state: RunState = EMPTY
        self.last: tuple[Command, ...] = ()
        self.log: list[Command] = []
        if start:
            self.feed(events.Admitted({} if given is None else given))

    def feed(self, event: events.Event) -> tuple[Command, ...]:
        self.state, self.last = advance(self.graph, self.state, event)
        assert from_json(to_json(self.state)) == self.state
        self.log += self.last
        return self.last

    def done(self, activity: str, result: Json = None, **more: Any) -> tuple[Command, ...]:
        """A finished call; a result of text `y` stands for `{"y": ...}`."""
        value = {"y": result} if isinstance(result, str) else result
        return self.feed(events.CallFinished(activity, CallResult(result=value, **more)))

    def fails(self, activity: str, kind: str = "VendorDown", attempts: int = 3) -> tuple[Command, ...]:
        return self.feed(events.CallFailed(activity, CallError(type=kind, message="it broke", attempts=attempts)))

    def holds(self, activity: str, ref: str, kind: str = "approval") -> tuple[Command, ...]:
        hold = Hold.model_validate({"kind": kind, "id": ref})
        return self.feed(events.HoldOpened(activity, hold))

    def answers(self, ref: str, verb: str, arguments: Json = None, **more: Any) -> tuple[Command, ...]:
        answer = Answer.model_validate({"ref": ref, "verb": verb, "arguments": arguments, **more})
        return self.feed(events.HoldAnswered(answer))

    def decides(self, *values: bool | None) -> tuple[Command, ...]:
        """Answer the last Decide; None is a failed condition."""
        asked = [command for command in self.log if isinstance(command, Decide)][-1]
        answers = [
            DecideAnswer(key=request.key, value=value, error=None if value is not None else "no such key")
            for request, value in zip(asked.requests, values, strict=True)
        ]
        return self.feed(events.Decided(asked.id, tuple(answers)))

    def of(self, kind: type[C]) -> list[C]:
        """The last commands of one kind."""
        return [command for command in self.last if isinstance(command, kind)]

    @property
    def calls(self) -> list[str]:
        """Activity ids of the calls among the last commands."""
        return [call.activity_id for call in self.of(Call)]

    @property
    def cancels(self) -> list[str]:
        return [command.activity_id for command in self.of(CancelCall)]

    @property
    def finish(self) -> Finish:
        """The end, which the last event brought."""
        [found] = self.of(Finish)
        return found

    @property
    def blocked(self) -> list[tuple[str, str]]:
        """The reference and error type of every blocked node."""
        asks = [wait.ask for wait in self.state.waits.values() if wait.ask.kind == "blocked"]
        return sorted((ask.ref, ask.error.type if ask.error else "") for ask in asks)

    @property
    def path(self) -> list[tuple[str, int, str]]:
        return [(node, visit, str(status)) for node, visit, status in path(self.state)]

    def notes(self) -> list[Note]:
        """All notes that commands carried so far."""
        found: list[Note] = []
        for command in self.log:
            if isinstance(command, Call):
                found += command.input.notes
            elif isinstance(command, Load | Finish):
                found += command.notes
        return found
