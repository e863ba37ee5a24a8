"""The working copy of one turn: changed freely inside `advance`, frozen at its end."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Literal

from vertebra.engine.commands import StartTimer
from vertebra.engine.state import Branch, Ending, Pending, Progress, RunState, Wait
from vertebra.schemas.call import CallError, Note
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph, Node
from vertebra.schemas.run import DecideRequest

Todo = Literal["enter", "start", "complete", "skip", "route"]
"""Enter a node (a new visit), start it (again), take its kept result, leave it without one, choose what comes next."""
MAX_STEPS = 1000
"""Visits that the `state` query shows; older finished ones are in the envelopes."""


class Work:
    """State and commands in the making. Nodes are never started by recursion: they are queued in `todo`."""

    def __init__(self, graph: CompiledGraph, state: RunState) -> None:
        self.graph = graph
        self.before = state
        self.phase = state.phase
        self.input: Json = state.input
        self.branches = dict(state.branches)
        self.calls = dict(state.calls)
        self.decides = dict(state.decides)
        self.waits = dict(state.waits)
        self.visits = dict(state.visits)
        self.steps = dict(state.steps)
        self.notes = list(state.notes)
        self.woken = state.woken
        self.ending: Ending | None = state.ending
        self.past = dict(state.past)
        self.timers = dict(state.timers)
        self.starts: list[StartTimer] = []
        self.todo: deque[tuple[Todo, str]] = deque()
        self.sends: list[str] = []
        self.opens: list[str] = []
        self.cancels: list[str] = []
        self.asked: dict[str, tuple[DecideRequest, ...]] = {}
        self.opened = False
        """A new wait was opened."""
        self.look = False
        """Look for standing answers."""
        self.tick = False
        """The re-read timer fired."""

    def node(self, branch: Branch) -> Node:
        return self.graph.nodes[branch.at]

    def put(self, branch: Branch) -> Branch:
        self.branches[branch.id] = branch
        return branch

    def then(self, todo: Todo, branch: Branch) -> None:
        """Queue the next step of a branch."""
        self.put(branch)
        self.todo.append((todo, branch.id))

    def go(self, branch: Branch, node: str) -> None:
        """Queue a new visit of a node by this branch."""
        moved = replace(branch, at=node, visit=0, stage="entering", source="", turn=None, kept=None, undo=None)
        self.then("enter", replace(moved, retries=0, tried=None))

    def visit(self, branch: Branch) -> Branch:
        """Count a visit and make it the branch's."""
        count = self.visits.get(branch.at, 0) + 1
        self.visits[branch.at] = count
        self.step(branch.at, count, "running")
        return self.put(replace(branch, visit=count))

    def step(self, node: str, visit: int, progress: Progress) -> None:
        name = f"{node}#{visit}"
        if len(self.steps) >= MAX_STEPS and name not in self.steps:
            oldest = next((key for key, status in self.steps.items() if status != "running"), None)
            self.steps.pop(oldest or name, None)
        self.steps[name] = progress

    def send(self, activity_id: str, call: Pending) -> None:
        """Have this call carried out, for the first time or again."""
        self.calls[activity_id] = replace(call, status="sent", error=None)
        (self.sends if call.input else self.opens).append(activity_id)

    def open_wait(self, key: str, wait: Wait) -> None:
        self.waits[key] = wait
        self.opened = self.look = True

    def drop_calls(self, branch: Branch) -> None:
        """The branch leaves its node: cancel what is in flight, forget what is held or failed."""
        for activity_id in [key for key, call in self.calls.items() if call.branch == branch.id]:
            self.drop_call(activity_id)
        self.stop_waiting(place(branch))

    def stop_waiting(self, key: str) -> None:
        """Nobody waits at this place any more."""
        self.waits.pop(key, None)
        if self.timers.pop(key, None) is not None:
            self.starts = [start for start in self.starts if start.name != key]
            self.starts.append(StartTimer(key, None))

    def drop_call(self, activity_id: str) -> None:
        call = self.calls[activity_id]
        self.waits.pop(activity_id, None)
        if activity_id in self.sends or activity_id in self.opens or call.status in ("held", "failed"):
            self.sends = [key for key in self.sends if key != activity_id]
            self.opens = [key for key in self.opens if key != activity_id]
            del self.calls[activity_id]
        elif call.input is None:
            del self.calls[activity_id]
        elif call.status == "sent":
            self.calls[activity_id] = replace(call, branch="", status="cancelling")
            self.cancels.append(activity_id)

    def stands(self, branch: Branch, redo: Literal["enter", "route"]) -> bool:
        """Let a branch stand where a join cancelled it in an earlier life of the run: it would only spend again."""
        standing = replace(branch, stage="standing", redo=redo)
        if not any(where(standing) in past.lost for past in self.past.values()):
            return False
        self.put(standing)
        return True

    def leave(self, branch: Branch) -> None:
        """Forget a branch, whatever it waits for; calls in flight are cancelled and reported later."""
        for activity_id in [key for key, call in self.calls.items() if call.branch == branch.id]:
            call = self.calls[activity_id]
            if call.input is None and call.status == "sent" and activity_id not in self.opens:
                self.waits.pop(activity_id, None)
                self.calls[activity_id] = replace(call, status="cancelling")
            else:
                self.drop_call(activity_id)
            if activity_id in self.calls:
                self.calls[activity_id] = replace(self.calls[activity_id], branch=branch.id)
        self.stop_waiting(place(branch))
        self.asked.pop(branch.id, None)
        for key, branches in self.decides.items():
            self.decides[key] = tuple(id_ for id_ in branches if id_ != branch.id)
        del self.branches[branch.id]

    def leaves(self) -> list[Branch]:
        """The branches that do not wait for children."""
        return [branch for branch in self.branches.values() if branch.stage != "forked"]

    def task_note(self, branch: Branch, status: Progress, result: Json = None, error: CallError | None = None) -> None:
        """An envelope of a node's visit that no call writes."""
        assert status not in ("running", "waiting")
        found = None if error is None else error.model_dump(mode="json")
        self.notes.append(
            Note(
                node=branch.at,
                visit=branch.visit,
                kind="task",
                status=status,
                branch=branch.id,
                result=result,
                error=found,
            )
        )

    def wait_note(self, node: str, visit: int, until: int) -> None:
        """An envelope of when a wait ends; a resumed run reads it back."""
        self.notes.append(Note(node=node, visit=visit, kind="plan", result={"wait": until}))

    def join_note(self, node: str, above: Branch, winners: list[Branch], lost: list[str]) -> None:
        """An envelope of what a join took and what it cancelled; a resumed run reads it back."""
        result: Json = {
            "join": self.graph.joins[node].need,
            "won": [branch.id for branch in winners],
            "from": [branch.source for branch in winners],
            "cancelled": [*lost],
        }
        visit = self.visits.get(node, 0) + 1
        self.notes.append(Note(node=node, visit=visit, kind="plan", branch=above.id, next=(node,), result=result))

    def plan_note(
        self, branch: Branch, targets: tuple[str, ...], status: Literal["succeeded", "skipped"] = "succeeded"
    ) -> None:
        """An envelope of a routing decision."""
        note = Note(node=branch.at, visit=branch.visit, kind="plan", status=status, branch=branch.id, next=targets)
        self.notes.append(note)


def place(branch: Branch) -> str:
    """The name of a branch's visit, `node#visit`: also the activity id of a `tool` or `human` node."""
    return f"{branch.at}#{branch.visit}"


def where(branch: Branch) -> str:
    """Where a branch stands, as a join records it: its visit, and `>` where an edge is to be chosen."""
    chooses = branch.stage == "routing" or (branch.stage == "standing" and branch.redo == "route")
    return f"{place(branch)}>" if chooses else place(branch)
