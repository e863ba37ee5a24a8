"""One step of a run: what happened goes in, the next state and what is to be done come out. Pure, and never raises."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, assert_never

from vertebra.engine import answers, calls, channels, nodes, pauses, routes
from vertebra.engine.commands import Command
from vertebra.engine.emitting import REREAD, emit
from vertebra.engine.endings import end_run
from vertebra.engine.events import (
    Admitted,
    CallCancelled,
    CallFailed,
    CallFinished,
    CancelAsked,
    CommandGiven,
    Decided,
    Event,
    HoldAnswered,
    HoldOpened,
    TimerFired,
    TimerStarted,
    Woken,
)
from vertebra.engine.failures import block
from vertebra.engine.joins import fire_ready, release
from vertebra.engine.state import Branch, RunState
from vertebra.engine.working import Todo, Work
from vertebra.schemas.call import CallError
from vertebra.schemas.errors import UnknownEngine
from vertebra.schemas.graph import CompiledGraph

KNOWN_ENGINES = (1,)
"""The revisions of the rules that this worker plays; an old one stays while a run may use it."""


def advance(graph: CompiledGraph, state: RunState, event: Event) -> tuple[RunState, tuple[Command, ...]]:
    """The state after an event, and the commands to carry out in their order.

    An event that fits nothing (too late, twice, for another run) changes nothing. Raises UnknownEngine for a graph of
    rules that this worker does not know, and nothing else.
    """
    if graph.engine not in KNOWN_ENGINES:
        message = f"graph {graph.name!r} needs engine revision {graph.engine}, this worker knows {KNOWN_ENGINES}"
        raise UnknownEngine(message, do="start a newer worker")
    if state.phase == "ended":
        return state, ()
    work = Work(graph, state)
    _take_in(work, event)
    _drain(work)
    return emit(work)


def _take_in(work: Work, event: Event) -> None:
    match event:
        case CallFinished():
            calls.finished(work, event.activity_id, event.result)
        case CallFailed():
            calls.failed(work, event.activity_id, event.error)
        case CallCancelled():
            calls.cancelled(work, event.activity_id)
        case HoldOpened():
            calls.held(work, event.activity_id, event.hold)
        case HoldAnswered():
            answers.answer(work, event.answer)
        case Decided():
            _decided(work, event)
        case Admitted():
            _begin(work, event)
        case TimerFired():
            _look(work, event.name)
        case TimerStarted():
            pauses.started(work, event.name, event.until)
        case Woken():
            _wake(work)
        case CommandGiven():
            _obey(work, event)
        case CancelAsked():
            _end(work, "cancelled", event.by, None)
        case _:
            assert_never(event)


def _drain(work: Work) -> None:
    """Do everything that needs nobody else, until the run rests or waits for its commands."""
    while work.phase == "running":
        if work.todo:
            todo, branch = work.todo.popleft()
            _do(work, todo, work.branches[branch])
        elif not fire_ready(work) and not _start_standing(work):
            _report_stuck(work)
            return


def _do(work: Work, todo: Todo, branch: Branch) -> None:
    match todo:
        case "enter":
            nodes.enter(work, branch)
        case "start":
            nodes.start(work, branch)
        case "complete":
            nodes.complete(work, branch)
        case "skip":
            routes.skip_failed(work, branch)
        case "route":
            routes.route(work, branch)
        case _:
            assert_never(todo)


def _begin(work: Work, event: Admitted) -> None:
    if work.phase != "new":
        return
    work.phase = "running"
    work.input = event.input
    work.past = {f"{past.node}#{past.visit}{'' if past.until is None else '@'}": past for past in event.past}
    work.look, work.woken = work.woken, False
    work.then("enter", Branch(id="", at=work.graph.start, state=channels.defaults(work)))


def _decided(work: Work, event: Decided) -> None:
    found = {answer.key: answer for answer in event.answers}
    for branch_id in work.decides.pop(event.id, ()):
        branch = work.branches[branch_id]
        if branch.stage == "deciding":
            nodes.rules_decided(work, branch, found)
        else:
            routes.decided(work, branch, found)
        if work.phase != "running":
            return


def _look(work: Work, timer: str) -> None:
    if timer == REREAD and work.waits:
        work.look = work.tick = True
    elif timer != REREAD:
        pauses.fired(work, timer)


def _wake(work: Work) -> None:
    if work.phase == "new":
        work.woken = True
    elif work.phase == "running":
        work.look = True


def _obey(work: Work, event: CommandGiven) -> None:
    if event.verb == "abort":
        error = None if event.reason is None else CallError(type="Aborted", message=event.reason)
        _end(work, "aborted", event.by, error)
    elif event.verb == "cancel":
        _end(work, "cancelled", event.by, None)


def _end(work: Work, end: Literal["aborted", "cancelled"], by: str | None, error: CallError | None) -> None:
    if work.phase != "ending":
        end_run(work, end, error=error, by=by)


def _start_standing(work: Work) -> bool:
    """Where a run came another way than before, let go on what stands for a join that is not coming."""
    if not _is_still(work):
        return False
    standing = [branch for branch in work.branches.values() if branch.stage == "standing"]
    release(work, standing)
    return bool(standing)


def _is_still(work: Work) -> bool:
    return not (work.calls or work.asked or work.decides or work.waits or work.timers)


def _report_stuck(work: Work) -> None:
    """A run in which nothing can ever happen again would hang unseen: block a branch instead."""
    if not _is_still(work):
        return
    branch = min(work.branches.values(), key=lambda branch: (branch.stage != "arrived", branch.source, branch.id))
    visit = work.visits.get(branch.source, 1)
    message = f"the join {branch.at!r} waits for branches that wait for each other"
    error = CallError(type="JoinStuck", message=message, node=branch.source, visit=visit, do="abort the run")
    block(work, replace(branch, at=branch.source, visit=visit), error, "route")
