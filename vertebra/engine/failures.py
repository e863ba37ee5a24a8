"""What happens when a node cannot go on: its `on_error` edge, a blocked node that waits, or the end of the run."""

from __future__ import annotations

from dataclasses import replace

from vertebra.engine.endings import end_run
from vertebra.engine.state import Branch, Redo, Wait
from vertebra.engine.working import Work, place
from vertebra.schemas.call import CallError
from vertebra.schemas.run import Ask

UNKNOWN_OUTCOME = "UnknownOutcome"
ABORTED = "Aborted"
CANCELLED = "Cancelled"
PARKS = (UNKNOWN_OUTCOME, CANCELLED)
"""Nobody knows what happened, so no fallback may guess: the node always waits for a person."""


def fail(work: Work, branch: Branch, error: CallError, redo: Redo, activity_id: str | None = None) -> None:
    """The node failed: the run aborts, the branch takes `on_error`, skips an optional node, or the node blocks.

    `redo` is what `retry` does.
    """
    error = _placed(branch, error)
    fallback = work.node(branch).on_error
    if error.type == ABORTED:
        work.task_note(branch, "failed", error=error)
        work.step(branch.at, branch.visit, "failed")
        end_run(work, "aborted", error=error, but=branch.id)
    elif error.type in PARKS or (fallback is None and not work.node(branch).optional):
        block(work, branch, error, redo, activity_id)
    elif fallback is None:
        work.drop_calls(branch)
        work.task_note(branch, "skipped", error=error)
        work.step(branch.at, branch.visit, "skipped")
        work.then("skip", replace(branch, redo=redo))
    else:
        work.drop_calls(branch)
        work.task_note(branch, "failed", error=error)
        work.step(branch.at, branch.visit, "failed")
        work.plan_note(branch, (fallback,))
        work.go(replace(branch, error=error), fallback)


def block(work: Work, branch: Branch, error: CallError, redo: Redo, activity_id: str | None = None) -> None:
    """The node waits, alive, for `retry`, `skip`, `override` or `abort`."""
    error = _placed(branch, error)
    work.put(replace(branch, stage="blocked", redo=redo))
    work.task_note(branch, "blocked", error=error)
    ask = Ask(
        ref=place(branch),
        kind="blocked",
        node=branch.at,
        visit=branch.visit,
        activity_id=activity_id,
        error=error,
        round=branch.retries + 1,
        tried=branch.tried.command if branch.tried else None,
    )
    work.open_wait(place(branch), Wait(branch.id, ask))


def _placed(branch: Branch, error: CallError) -> CallError:
    if error.node and error.visit:
        return error
    return error.model_copy(update={"node": branch.at, "visit": branch.visit})
