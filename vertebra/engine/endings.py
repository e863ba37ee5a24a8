"""How a run ends: outputs from the branch that took the final edge, everything else cancelled in node-id order."""

from __future__ import annotations

from typing import Literal

from vertebra.engine.state import Branch, Ending
from vertebra.engine.values import Absent, Stored, source
from vertebra.engine.working import Work
from vertebra.schemas.call import CallError, Note
from vertebra.schemas.canonical import Json
from vertebra.schemas.run import RunEnd

LOST: dict[str, Json] = {"type": "JoinLost", "message": "a join went on without this branch"}
"""Why a node is cancelled whose branch came too late."""


def end_run(
    work: Work,
    end: RunEnd,
    output: Json = None,
    error: CallError | None = None,
    by: str | None = None,
    but: str | None = None,
) -> None:
    """Start nothing more and cancel the rest; the run is over once every cancelled call was reported.

    `but` is the branch that brought the end: it is not noted as cancelled.
    """
    work.phase = "ending"
    work.ending = Ending(end, output, error, by)
    for branch in sorted(work.leaves(), key=lambda branch: (branch.at, branch.visit, branch.id)):
        if branch.id != but:
            cancel(work, branch, {"type": "Cancelled", "message": "the run ended while this was open"})
    for activity_id in list(work.calls):
        work.drop_call(activity_id)
    work.branches, work.waits, work.decides, work.asked = {}, {}, {}, {}
    work.timers, work.starts = {}, []
    work.look = False


def outputs(work: Work, branch: Branch) -> dict[str, Json] | CallError:
    """The graph's outputs as this branch sees them; an error names the first required one that is absent."""
    found: dict[str, Json] = {}
    for name, value in work.graph.output.items():
        item = source(work, branch, value)
        if isinstance(item, Stored):
            return _missing(branch, f"output {name!r} from {value.path!r} lies in an artifact", "TooLarge")
        if not isinstance(item, Absent):
            found[name] = item
        elif value.required:
            return _missing(branch, f"output {name!r} needs {value.path!r}, which is absent", "MissingOutput")
    return found


def _missing(branch: Branch, message: str, kind: str) -> CallError:
    return CallError(
        type=kind,
        message=message,
        node=branch.at,
        visit=branch.visit,
        do="override this node with a result that writes it, or abort the run",
    )


def cancel(work: Work, branch: Branch, why: dict[str, Json]) -> None:
    """Say that a branch ended here: its node, or the choice of what comes after it, is cancelled."""
    if branch.stage in ("entering", "arrived"):
        return
    plan = branch.stage == "routing" or (branch.stage == "standing" and branch.redo == "route")
    if not plan:
        work.step(branch.at, branch.visit, "cancelled")
    work.notes.append(_cancelled("plan" if plan else "task", branch.at, branch.visit, branch.id, why))


def lost_note(node: str, visit: int, branch: str) -> Note:
    """A node was cancelled because a join went on without its branch."""
    return _cancelled("task", node, visit, branch, LOST)


def _cancelled(kind: Literal["task", "plan"], node: str, visit: int, branch: str, why: dict[str, Json]) -> Note:
    return Note(node=node, visit=visit, kind=kind, status="cancelled", branch=branch, result=None, error=why)
