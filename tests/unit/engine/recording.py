"""Recorded runs: a graph, its events, and the commands that the rules of revision 1 gave.

`python -m tests.unit.engine.recording` writes them anew, which is right only while no release
plays these rules.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel

from tests.make import agent, channel, graph, human, llm, rules, tool
from tests.unit.engine.world import Rough, World
from vertebra.engine import events
from vertebra.engine.advance import advance
from vertebra.engine.state import EMPTY
from vertebra.schemas.call import CallError, CallResult, Hold
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.run import Answer, DecideAnswer

FOLDER = Path(__file__).parent / "recorded"
_EVENTS: dict[str, type[events.Event]] = {
    kind.__name__: kind
    for kind in (
        events.Admitted,
        events.Decided,
        events.CallFinished,
        events.CallFailed,
        events.CallCancelled,
        events.HoldOpened,
        events.HoldAnswered,
        events.TimerFired,
        events.Woken,
        events.CommandGiven,
        events.CancelAsked,
    )
}
_PARTS: dict[str, type[BaseModel]] = {"result": CallResult, "error": CallError, "hold": Hold, "answer": Answer}


def plain(value: object) -> Json:
    """An event, a command or a part of one, with the name of its class."""
    if isinstance(value, BaseModel):
        found: Json = value.model_dump(mode="json", exclude_defaults=True)
        return found
    if is_dataclass(value):
        parts = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **{name: part for name, part in parts.items() if part is not None}}
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    assert value is None or isinstance(value, str | int | float | bool | list | dict)
    return value


def event_of(value: dict[str, Any]) -> events.Event:
    """The event of such a value."""
    parts = {name: part for name, part in value.items() if name != "is"}
    for name, kind in _PARTS.items():
        if name in parts:
            parts[name] = kind.model_validate(parts[name])
    if "answers" in parts:
        parts["answers"] = tuple(DecideAnswer.model_validate(answer) for answer in parts["answers"])
    return _EVENTS[value["is"]](**parts)


def support() -> CompiledGraph:
    """A ticket is classified, researched twice at most, answered by two writers at once, checked and sent."""
    nodes = [
        llm("classify", {"ticket": "input.ticket"}, write={"notes": "text"}),
        agent("agent_research", {"kind": "classify.text"}, max_visits=2, on_error="apologise"),
        llm("draft", {"facts": "?agent_research.text"}, write={"reply": "text", "refund": "n"}),
        llm("summary", {"facts": "?agent_research.text"}, write={"notes": "text"}),
        rules("check", ("state.refund > 70.0", {"ok": "=false"}), default={"ok": "=true"}),
        human("confirm", {"reply": "?state.reply"}),
        rules("apologise", default={"text": '="sorry"'}, write={"reply": "text"}),
        tool("send", {"to": "input.email", "text": "?state.reply"}, facts=("state.refund",)),
    ]
    state = {"notes": channel("list", "append"), "reply": channel(), "refund": channel("float", "replace", 0.0)}
    lines = (
        "classify -> end when classify.kind == 'spam' && classify.i > 1000",
        "classify -> agent_research else",
        "agent_research -> agent_research when agent_research.n < 30.0",
        "agent_research -> draft, summary else",
        "draft, summary -> check",
        "check -> confirm when check.ok == false",
        "check -> send else",
        "confirm -> send",
        "apologise -> send",
        "send -> end",
    )
    return graph(nodes, *lines, name="support", state=state, output={"reply": "?state.reply", "notes": "?state.notes"})


def record(made: CompiledGraph, seed: int) -> Json:
    world = World(made, Rough(), Random(seed).randrange)
    world.run({"ticket": f"ticket {seed}", "email": "a@example.org"})
    steps: list[Json] = []
    state = EMPTY
    for event in world.ran.events:
        state, commands = advance(made, state, event)
        steps.append({"event": plain(event), "commands": plain(commands)})
    return {"graph": json.loads(made.canonical), "steps": steps}


def main() -> None:
    for seed in (7, 16, 34):
        text = json.dumps(record(support(), seed), indent=1, sort_keys=True, ensure_ascii=False)
        (FOLDER / f"support-{seed}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
