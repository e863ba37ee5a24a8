"""The end of a turn: the working copy becomes the next state and its commands, in one fixed order."""

from __future__ import annotations

from dataclasses import replace

from vertebra.engine.commands import (
    Call,
    CancelCall,
    Command,
    Decide,
    Finish,
    Load,
    OpenApproval,
    Park,
    SetState,
    StartTimer,
)
from vertebra.engine.sending import command
from vertebra.engine.state import REREAD_S, RunState, next_delay, resting, waits
from vertebra.engine.values import resolve_inline
from vertebra.engine.working import Work
from vertebra.schemas.call import CallError, Note
from vertebra.schemas.ids import node_order
from vertebra.schemas.run import RunState as Shown

REREAD = "reread"
MAX_NOTES = 50
MAX_NOTE_CHARS = 64 * 1024
"""Of the results in the notes of one command; a single larger one travels alone."""


def emit(work: Work) -> tuple[RunState, tuple[Command, ...]]:
    """Freeze the turn. In this order: cancels, calls, conditions, approvals, waits, state, timer, load, park, end."""
    found: list[Command] = [CancelCall(key) for key in sorted(work.cancels, key=node_order)]
    found += [_call(work, key) for key in sorted(work.sends, key=node_order)]
    decided = _decide(work, found)
    found += [_open(work, key) for key in sorted(work.opens, key=node_order)]
    found += work.starts
    if work.phase == "ending" and not work.calls:
        found.append(_finish(work))
    state = _frozen(work, decided)
    if state.phase == "ended":
        return state, tuple(found)
    return _watch(work, state, found)


def shown(state: RunState) -> Shown:
    """What the run is doing. A person's decision comes before a blocked node, and that before money."""
    kinds = {wait.ask.kind for wait in state.waits.values()} - {"event"}
    if kinds & {"approval", "renewal"}:
        return "awaiting_human"
    if "blocked" in kinds:
        return "blocked"
    return "over_budget" if kinds else "running"


def _watch(work: Work, state: RunState, found: list[Command]) -> tuple[RunState, tuple[Command, ...]]:
    """Show what waits, keep its timer, and look for answers."""
    now = shown(state)
    if now != state.shown and state.phase == "running":
        found.append(SetState(now))
    reread = _reread(work)
    state = replace(state, shown=now, reread=reread)
    if (reread is not None and (work.opened or work.tick)) or (reread is None and work.before.reread is not None):
        found.append(StartTimer(REREAD, next_delay(state)))
    if work.look:
        found.append(Load(waits(state), _take_notes(work)))
        state = replace(state, notes=tuple(work.notes))
    if state.waits and resting(state):
        found.append(Park())
    return state, tuple(found)


def _reread(work: Work) -> int | None:
    if not work.waits:
        return None
    if work.opened or work.before.reread is None:
        return 0
    return min(work.before.reread + 1, len(REREAD_S) - 1) if work.tick else work.before.reread


def _call(work: Work, key: str) -> Call:
    call = work.calls[key]
    assert call.input is not None
    request = call.input.model_copy(update={"notes": _take_notes(work)})
    work.calls[key] = replace(call, input=request)
    return command(work.graph, key, request)


def _decide(work: Work, found: list[Command]) -> int:
    """Ask for all ready conditions at once; how many Decides there were by now."""
    count = work.before.decided
    if not work.asked:
        return count
    count += 1
    ids = sorted(work.asked, key=lambda key: (work.branches[key].at, work.branches[key].visit, key))
    work.decides[f"d{count}"] = tuple(ids)
    found.append(Decide(f"d{count}", tuple(request for key in ids for request in work.asked[key])))
    return count


def _open(work: Work, key: str) -> OpenApproval:
    call = work.calls[key]
    branch = work.branches[call.branch]
    show = resolve_inline(work, branch, work.node(branch).values)
    assert not isinstance(show, CallError)
    return OpenApproval(branch.at, branch.visit, call.round, show)


def _finish(work: Work) -> Finish:
    """The last command carries all notes that are left."""
    ending = work.ending
    assert ending is not None
    work.phase = "ended"
    notes, work.notes = tuple(work.notes), []
    return Finish(ending.end, ending.output, ending.error, ending.by, notes)


def _take_notes(work: Work) -> tuple[Note, ...]:
    """The notes that the next command carries; the rest goes with a later one."""
    taken: list[Note] = []
    left = MAX_NOTE_CHARS
    for note in work.notes[:MAX_NOTES]:
        left -= 0 if note.result is None else len(repr(note.result))
        if left < 0 and taken:
            break
        taken.append(note)
    work.notes = work.notes[len(taken) :]
    return tuple(taken)


def _frozen(work: Work, decided: int) -> RunState:
    return RunState(
        phase=work.phase,
        input=work.input,
        branches=work.branches,
        calls=work.calls,
        decides=work.decides,
        waits=work.waits,
        visits=work.visits,
        steps=work.steps,
        notes=tuple(work.notes),
        decided=decided,
        shown=work.before.shown,
        reread=work.before.reread,
        woken=work.woken,
        ending=work.ending,
        past=work.past,
        timers=work.timers,
    )
