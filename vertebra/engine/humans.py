"""Nodes that ask a person a question; the answer is the node's result and authorises nothing."""

from __future__ import annotations

from dataclasses import replace

from vertebra.engine.calls import refusal
from vertebra.engine.failures import block, fail
from vertebra.engine.state import Branch, NodeResult, Pending
from vertebra.engine.values import resolve_inline
from vertebra.engine.working import Work, place
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.run import Answer, Ask


def start_human(work: Work, branch: Branch) -> None:
    """Open the approval row. What is shown must be readable, so that nobody is asked about nothing."""
    shown = resolve_inline(work, branch, work.node(branch).values)
    if isinstance(shown, CallError):
        block(work, branch, shown, "enter")
        return
    work.put(replace(branch, stage="calling"))
    work.send(place(branch), Pending(branch.id))


def ask_again(work: Work, branch: Branch) -> None:
    """After the question expired or was withdrawn: a new round."""
    key = place(branch)
    last = work.calls.get(key, Pending(branch.id, round=0))
    work.put(replace(branch, stage="calling"))
    work.send(key, replace(last, round=last.round + 1))


def person_answered(work: Work, activity_id: str, ask: Ask, answer: Answer) -> None:
    """What the person said; a denial is a result that edges may read."""
    branch = work.branches[work.calls[activity_id].branch]
    if answer.verb == "withdrawn":
        work.waits.pop(activity_id, None)
        ask_again(work, branch)
    elif answer.verb == "expired":
        work.waits.pop(activity_id, None)
        error = refusal(ask, answer)
        work.calls[activity_id] = replace(work.calls[activity_id], status="failed", error=error)
        fail(work, branch, error, "human", activity_id)
    elif answer.verb in ("approve", "edit", "deny"):
        decision = "deny" if answer.verb == "deny" else "approve"
        result: Json = {"decision": decision, "answer": answer.arguments, "decided_by": answer.by}
        del work.calls[activity_id]
        work.waits.pop(activity_id, None)
        work.task_note(branch, "succeeded", result)
        work.then("complete", replace(branch, kept=NodeResult(branch.visit, result)))
