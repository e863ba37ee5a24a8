"""Nodes that wait: for a time, or for an event that somebody sends. Times are seconds since 1970, told by events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from vertebra.engine.commands import StartTimer
from vertebra.engine.failures import fail
from vertebra.engine.state import Branch, NodeResult, RunState, Timer, Wait
from vertebra.engine.values import Absent, Stored, missing, source, too_large
from vertebra.engine.working import Work, place
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph, Pause
from vertebra.schemas.run import Answer, Ask

SUMMARY_CHARS = 80
_LAST = 253_402_300_799
"""The last second of the year 9999: a later one, which rounding up could make, is no time that can be written."""


def start_wait(work: Work, branch: Branch) -> None:
    """Start the timer, if there is one, and listen for the event, if there is one."""
    pause = _pause(work.graph, branch.at)
    until = _until(work, branch, pause)
    if isinstance(until, CallError):
        fail(work, branch, until, "enter")
        return
    branch = work.put(replace(branch, stage="calling"))
    key = place(branch)
    if until is not None or pause.for_s is not None:
        work.timers[key] = Timer(branch.id, until)
        work.starts.append(StartTimer(key, None if until else pause.for_s, until, _label(work.graph, branch.at, until)))
        if until is not None:
            work.wait_note(branch.at, branch.visit, until)
    if pause.event is not None:
        ask = Ask(ref=key, kind="event", node=branch.at, visit=branch.visit)
        work.open_wait(key, Wait(branch.id, ask))


def started(work: Work, name: str, until: int) -> None:
    """When a timer that was asked for by its length is going to fire; this stands for good."""
    timer = work.timers.get(name)
    if timer is not None and timer.until is None:
        branch = work.branches[timer.branch]
        work.timers[name] = replace(timer, until=until)
        work.wait_note(branch.at, branch.visit, until)


def fired(work: Work, name: str) -> None:
    """The time has come: the result of the wait, or the end of the wait for an event."""
    timer = work.timers.get(name)
    if timer is None or timer.until is None:
        return
    branch = work.branches[timer.branch]
    event = _pause(work.graph, branch.at).event
    del work.timers[name]
    if event is None:
        _give(work, branch, {"at": _text(timer.until)})
        return
    work.waits.pop(name, None)
    message = f"event {event!r} did not come until {_text(timer.until)}"
    error = CallError(type="EventExpired", message=message, do="retry the node to wait again, or override it")
    fail(work, branch, error, "again")


def event_came(work: Work, branch: Branch, ask: Ask, answer: Answer) -> None:
    """Somebody sent the event, and nobody took it before."""
    if answer.verb != "event" or answer.at is None:
        return
    work.stop_waiting(ask.ref)
    result: Json = {"at": _text(answer.at), "payload": answer.arguments, "sent_by": answer.by}
    _give(work, branch, result)


def wait_again(work: Work, branch: Branch) -> None:
    """`retry` after the event did not come in time: its whole time anew."""
    work.past.pop(f"{place(branch)}@", None)
    start_wait(work, branch)


def running_timers(graph: CompiledGraph, state: RunState) -> list[StartTimer]:
    """The timers of a run that continues, with what is left of them."""
    return [
        StartTimer(name, None, timer.until, _label(graph, state.branches[timer.branch].at, timer.until))
        for name, timer in state.timers.items()
    ]


def _pause(graph: CompiledGraph, node: str) -> Pause:
    found = graph.nodes[node].pause
    assert found is not None
    return found


def _until(work: Work, branch: Branch, pause: Pause) -> int | CallError | None:
    """The time that the wait ends at; None if only its length is known."""
    before = work.past.pop(f"{place(branch)}@", None)
    if before is not None:
        return before.until
    if pause.until is None:
        return None
    found = source(work, branch, pause.until)
    if isinstance(found, Absent):
        return missing(branch, "until", pause.until)
    if isinstance(found, Stored):
        return too_large(branch, "until")
    seconds = instant(found)
    if seconds is None:
        message = f"node {branch.at!r} waits until {found!r:.60}, which is no time"
        return CallError(type="BadTime", message=message, do="give a time with its zone, such as 2026-12-24T18:00:00Z")
    return seconds


def instant(value: object) -> int | None:
    """Whole seconds since 1970 of an ISO 8601 time with a zone, rounded up; None if it is none."""
    try:
        time = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
        if time is None or time.tzinfo is None:
            return None
        stamp = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    whole = int(stamp.replace(microsecond=0).timestamp())
    whole += 1 if stamp.microsecond else 0
    return whole if whole <= _LAST else None


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _label(graph: CompiledGraph, node: str, until: int | None) -> str:
    """What the timeline of the Web UI shows."""
    pause = _pause(graph, node)
    what = f"until {_text(until)}" if until is not None else f"{pause.for_s} s"
    text = f"{node}: {f'event {pause.event}, ' if pause.event else ''}{what}"
    return text if len(text) <= SUMMARY_CHARS else text[: SUMMARY_CHARS - 1] + "…"


def _give(work: Work, branch: Branch, result: Json) -> None:
    work.task_note(branch, "succeeded", result)
    work.then("complete", replace(branch, kept=NodeResult(branch.visit, result)))
