"""What people answered: to a held call, to a question, for a blocked node. What fits no open wait is ignored."""

from __future__ import annotations

from dataclasses import replace

from vertebra.engine import calls, humans, pauses, routes, turns
from vertebra.engine.state import Branch, NodeResult
from vertebra.engine.working import Work, place
from vertebra.schemas.run import Answer, Ask


def answer(work: Work, given: Answer) -> None:
    """Give a standing answer to everything that waits under its reference."""
    for key in sorted(key for key, wait in work.waits.items() if wait.ask.ref == given.ref):
        wait = work.waits.get(key)
        if wait is None:
            continue  # an answer before this one closed it
        branch = work.branches[wait.branch]
        if wait.ask.kind == "blocked":
            _unblock(work, branch, wait.ask, given)
        elif wait.ask.kind == "event":
            pauses.event_came(work, branch, wait.ask, given)
        elif work.calls[key].input is None:
            humans.person_answered(work, key, wait.ask, given)
        else:
            calls.answered(work, key, wait.ask, given)


def _unblock(work: Work, branch: Branch, ask: Ask, given: Answer) -> None:
    if given.verb not in ("retry", "skip", "override") or given == branch.tried:
        return
    if given.verb == "retry" and given.round not in (None, ask.round):
        return  # a late answer to an earlier block of this visit
    work.waits.pop(place(branch), None)
    if given.verb == "retry":
        _retry(work, work.put(replace(branch, retries=branch.retries + 1)))
    elif given.verb == "skip":
        routes.skip(work, work.put(replace(branch, tried=given)))
    else:
        _override(work, work.put(replace(branch, tried=given)), given)


def _retry(work: Work, branch: Branch) -> None:
    """Do the step again that failed."""
    if branch.redo == "calls":
        calls.resend_failed(work, branch)
    elif branch.redo == "turns":
        turns.one_more_turn(work, branch)
    elif branch.redo == "human":
        humans.ask_again(work, branch)
    elif branch.redo == "again":
        pauses.wait_again(work, branch)
    elif branch.redo == "write":
        work.then("complete", branch)
    else:
        work.then("route" if branch.redo == "route" else "start", branch)


def _override(work: Work, branch: Branch, given: Answer) -> None:
    """Go on as if the node had given this result; what it wrote before it could not be left is taken back."""
    work.drop_calls(branch)
    work.task_note(branch, "overridden", given.arguments)
    work.step(branch.at, branch.visit, "overridden")
    if branch.undo is not None:
        branch = replace(branch, state=branch.undo.state, writes=branch.undo.writes)
    work.then("complete", replace(branch, turn=None, kept=NodeResult(branch.visit, given.arguments)))
