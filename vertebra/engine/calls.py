"""Calls on their way: sent, held, failed, cancelled. Each is finished at most once; what comes too late is ignored."""

from __future__ import annotations

from dataclasses import replace

from vertebra.engine.endings import lost_note
from vertebra.engine.failures import ABORTED, CANCELLED, PARKS, fail
from vertebra.engine.state import Branch, NodeResult, Pending, Wait
from vertebra.engine.turns import model_answered, tool_answered, tool_failed
from vertebra.engine.working import Work, place
from vertebra.schemas.call import CallError, CallInput, CallResult, Hold
from vertebra.schemas.ids import node_of
from vertebra.schemas.run import Answer, Ask

GRANTS = {"approval": "approve", "top_up": "top_up", "renewal": "renew"}
"""The verb that lets a held call go on."""


def finished(work: Work, activity_id: str, result: CallResult) -> None:
    """A call's result. A late one counts for a held call, or one of unknown outcome: it did happen."""
    call = work.calls.get(activity_id)
    if call is None or call.input is None or not _may_finish(call):
        return
    _close(work, activity_id)
    if call.status == "cancelling":
        return
    branch = _unblocked(work, work.branches[call.branch], call)
    if call.input.tool_call is not None:
        tool_answered(work, branch, activity_id, call.input, result)
    elif work.node(branch).type == "agent":
        model_answered(work, branch, result)
    elif result.failed or result.tool_calls:
        fail(work, branch, _no_result(branch, result), "enter", activity_id)
    else:
        work.then("complete", replace(branch, kept=NodeResult(branch.visit, result.result, result.ref)))


def failed(work: Work, activity_id: str, error: CallError) -> None:
    """A call ended without a result, for good."""
    call = work.calls.get(activity_id)
    if call is None or call.status == "failed":
        return
    if error.attempts == 0:
        call = _give_back(work, activity_id, call)
    if call.status == "cancelling":
        _close(work, activity_id)
        return
    branch = work.branches[call.branch]
    if call.input is not None and call.input.tool_call is not None and error.type not in (*PARKS, ABORTED):
        _close(work, activity_id)
        tool_failed(work, branch, activity_id, call.input, error.message)
    else:
        _stop(work, branch, activity_id, call, error)


def cancelled(work: Work, activity_id: str) -> None:
    """A call was cancelled: by us, or by somebody else; then a person must say what is to be done."""
    error = CallError(type=CANCELLED, message=f"call {activity_id} was cancelled from outside", do="retry the node")
    failed(work, activity_id, error)


def held(work: Work, activity_id: str, hold: Hold) -> None:
    """A call, or a human node, waits for a person."""
    call = work.calls.get(activity_id)
    if call is None or call.status == "failed" or _already(work, activity_id, hold):
        return
    call = _give_back(work, activity_id, call)
    if call.status == "cancelling":
        _close(work, activity_id)
        if call.branch:
            # a person was asked meanwhile: what withdraws the question goes on record once more
            work.notes.append(lost_note(*node_of(activity_id), call.branch))
        return
    branch = work.branches[call.branch]
    work.calls[activity_id] = replace(call, status="held")
    ask = Ask(ref=hold.id, kind=hold.kind, node=branch.at, visit=branch.visit, activity_id=activity_id)
    work.open_wait(activity_id, Wait(branch.id, ask))


def answered(work: Work, activity_id: str, ask: Ask, answer: Answer) -> None:
    """The standing answer of a held call: send it again, with what was decided, or give it up."""
    call = work.calls[activity_id]
    assert call.input is not None
    if answer.verb == GRANTS.get(ask.kind):
        approval = ask.ref if ask.kind == "approval" else call.input.approval
        _resend(work, activity_id, call, call.input.model_copy(update={"approval": approval}))
    elif answer.verb == "edit" and ask.kind == "approval" and isinstance(answer.arguments, dict):
        edited = {"values": answer.arguments, "refs": {}, "ref_paths": {}, "approval": ask.ref}
        _resend(work, activity_id, call, call.input.model_copy(update=edited))
    elif answer.verb == "withdrawn":
        _resend(work, activity_id, call, call.input.model_copy(update={"approval": None}))
    elif answer.verb in ("deny", "expired", "edit"):
        _denied(work, activity_id, call, ask, answer)


def resend_failed(work: Work, branch: Branch) -> None:
    """`retry`: every failed call of the branch again, under its own id."""
    work.put(replace(branch, stage="calling"))
    for activity_id in sorted(key for key, call in work.calls.items() if call.branch == branch.id):
        call = work.calls[activity_id]
        if call.status == "failed":
            work.send(activity_id, call)


def refusal(ask: Ask, answer: Answer) -> CallError:
    """Why a wait was not granted, as a node's failure."""
    kind = {"expired": "ApprovalExpired", "deny": "ApprovalDenied"}.get(answer.verb, "BadAnswer")
    what = {"expired": "expired undecided", "deny": f"was denied by {answer.by or 'nobody named'}"}
    reason = f": {answer.reason}" if answer.reason else ""
    message = f"the {ask.kind.replace('_', '-')} {what.get(answer.verb, 'was answered with no object')}{reason}"
    return CallError(type=kind, message=message, node=ask.node, visit=ask.visit, do="retry the node to ask again")


def _denied(work: Work, activity_id: str, call: Pending, ask: Ask, answer: Answer) -> None:
    branch = work.branches[call.branch]
    error = refusal(ask, answer)
    assert call.input is not None
    if call.input.tool_call is not None and ask.kind == "approval":
        _close(work, activity_id)
        tool_failed(work, branch, activity_id, call.input, error.message)
    else:
        again = replace(call, input=call.input.model_copy(update={"approval": None}))
        _stop(work, branch, activity_id, again, error)


def _stop(work: Work, branch: Branch, activity_id: str, call: Pending, error: CallError) -> None:
    """The call is kept, so that `retry` can send it again; its node fails, unless it is blocked already."""
    work.waits.pop(activity_id, None)
    work.calls[activity_id] = replace(call, status="failed", error=error)
    if branch.stage != "blocked" or error.type == ABORTED:
        fail(work, branch, error, "calls" if call.input else "human", activity_id)


def _resend(work: Work, activity_id: str, call: Pending, request: CallInput) -> None:
    work.waits.pop(activity_id, None)
    work.send(activity_id, replace(call, input=request))


def _close(work: Work, activity_id: str) -> None:
    del work.calls[activity_id]
    work.waits.pop(activity_id, None)


def _give_back(work: Work, activity_id: str, call: Pending) -> Pending:
    """Take back the notes of a call that no attempt was made of: the next command carries them again."""
    if call.input is None or not call.input.notes:
        return call
    work.notes[:0] = call.input.notes
    call = replace(call, input=call.input.model_copy(update={"notes": ()}))
    work.calls[activity_id] = call
    return call


def _already(work: Work, activity_id: str, hold: Hold) -> bool:
    wait = work.waits.get(activity_id)
    return wait is not None and wait.ask.ref == hold.id


def _may_finish(call: Pending) -> bool:
    return call.status != "failed" or (call.error is not None and call.error.type in PARKS)


def _unblocked(work: Work, branch: Branch, call: Pending) -> Branch:
    """A late outcome answers for the person, if nothing else blocks the node."""
    others = any(other.branch == branch.id and other.status == "failed" for other in work.calls.values())
    if call.status != "failed" or others:
        return branch
    work.waits.pop(place(branch), None)
    return work.put(replace(branch, stage="calling", retries=branch.retries + 1))


def _no_result(branch: Branch, result: CallResult) -> CallError:
    if result.tool_calls:
        message = f"the model of node {branch.at!r} asked for tools, but only an agent node may"
        return CallError(type="OutputInvalid", message=message, attempts=result.attempts)
    return CallError(type="ToolFailed", message=f"the tool failed: {result.result!r:.200}", attempts=result.attempts)
