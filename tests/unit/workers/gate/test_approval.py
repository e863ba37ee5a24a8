"""What people said is asked about once, counts as long as it may, and is repeated to a run that has forgotten it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests import make
from tests.unit.workers.gate.asked import CAP, NOTHING, NOW, approval, call, decided, journalled, person, seen
from vertebra.engine.calls import refusal
from vertebra.schemas.canonical import Json
from vertebra.schemas.run import Answer, Ask
from vertebra.store.transaction import Row
from vertebra.workers.gate import approval as element
from vertebra.workers.gate import journal
from vertebra.workers.gate.element import Answer as Journalled
from vertebra.workers.gate.element import Denied, GateCall, Held, Verdict

ASKED = call({"to": "a@example.org", "text": "first"})
EDITED = call({"to": "a@example.org", "text": "better"})
WORDS: dict[str, Json] = {"to": "a@example.org", "text": "better"}


def judged(rows: list[Row], of: GateCall = ASKED, people: list[Row] | None = None) -> Verdict:
    return element.judge(of, seen(rows, people), NOTHING)


def opened(verdict: Verdict) -> int:
    """The round that was asked in."""
    assert isinstance(verdict, Held)
    [row] = [query.params for query in verdict.writes if query.name == "open_approval"]
    number: int = row["round"]
    return number


def test_an_approved_call_passes() -> None:
    """The decision covers the very bytes that were shown."""
    row = decided(approval(ASKED, "approved"), "approve")

    assert judged([row]) is None
    assert judged([{**row, "used_by": ASKED.id}]) is None


def test_what_was_approved_for_other_arguments_is_asked_anew() -> None:
    """A changed request is another question."""
    row = decided(approval(ASKED, "approved"), "approve")

    assert 2 == opened(judged([row], EDITED))


def test_an_edit_lets_the_edited_request_pass() -> None:
    """Same tool, same pin, the arguments that a person wrote."""
    row = decided(approval(ASKED, "edited"), "edit", WORDS)

    assert judged([row], EDITED) is None


def test_an_edit_covers_no_other_tool() -> None:
    """The same arguments for another tool are another request."""
    row = decided(approval(ASKED, "edited"), "edit", WORDS)
    other = replace(EDITED, prepared=EDITED.prepared.model_copy(update={"digest": "sha256:" + "9" * 64}))

    assert 2 == opened(judged([row], other))


def test_a_run_that_has_forgotten_an_edit_is_held_at_it() -> None:
    """Resumed, the engine sends the original again: the same approval answers it with the edit, and nobody is asked."""
    row = decided(approval(ASKED, "edited", used_by=EDITED.id), "edit", WORDS)

    verdict = judged([row])

    assert isinstance(verdict, Held)
    assert row["id"] == verdict.hold.id
    assert () == verdict.writes


def test_an_edit_that_changed_nothing_passes() -> None:
    """The edited request is the asked one: there is nothing to repeat."""
    row = decided(approval(ASKED, "edited"), "edit", {"to": "a@example.org", "text": "first"})

    assert judged([row]) is None


def test_an_edit_that_left_is_no_unknown_request_of_the_original() -> None:
    """What left under this activity is what was made of this very request."""
    left = journalled(EDITED, "done", asked_digest=ASKED.prepared.digest)

    assert journal.judge(ASKED, seen(journal=[left]), NOTHING) is None


def test_another_request_that_left_makes_this_one_doubtful() -> None:
    """Also for a call that carries an approval."""
    again = replace(ASKED, given=ASKED.given.model_copy(update={"approval": "approval-effect-1"}))

    verdict = journal.judge(again, seen(journal=[journalled(EDITED, "done")]), NOTHING)

    assert isinstance(verdict, Denied)
    assert "UnknownOutcome" == verdict.error.type


@pytest.mark.parametrize("kind", ["effect", "result"])
def test_what_was_denied_stays_denied_in_the_same_words(kind: str) -> None:
    """A resumed run is told what the run was told when it was decided, so that it goes the same way."""
    row = decided(approval(ASKED, "denied", kind=kind), "deny", reason="too much")
    told = refusal(
        Ask(ref=row["id"], kind="approval", node="send", visit=1),
        Answer(ref=row["id"], verb="deny", by="ada", reason="too much"),
    )

    verdict = judged([row]) if kind == "effect" else element.paused_after(ASKED, seen([row]))

    assert isinstance(verdict, Denied)
    assert told == verdict.error


def test_what_expired_stays_expired() -> None:
    """Nobody is asked again by the resume alone."""
    verdict = judged([approval(ASKED, "expired")])

    assert isinstance(verdict, Denied)
    assert "ApprovalExpired" == verdict.error.type


@pytest.mark.parametrize("state", ["denied", "expired"])
@pytest.mark.parametrize("kind", ["effect", "result"])
def test_a_retry_asks_in_a_new_round(state: str, kind: str) -> None:
    """Only the operator's command opens another one."""
    row = approval(ASKED, state, 2, kind=kind, reopened=True)

    assert 3 == opened(judged([row]) if kind == "effect" else element.paused_after(ASKED, seen([row])))


def test_a_models_denied_call_is_not_reopened() -> None:
    """The model has read the denial: a retry of its node is about something else."""
    node = make.agent("research", approval=make.tool("x").approval)
    asked = call({}, node=node, activity_id="research#1.1.1", tool_call="c1")
    row = approval(asked, "denied", kind="guardrail", reopened=True)

    assert isinstance(element.pause(asked, seen([row]), "cap", "why"), Denied)


@pytest.mark.parametrize("kind", ["effect", "result"])
def test_what_was_withdrawn_is_asked_again(kind: str) -> None:
    """The run had ended meanwhile: the pause stands, in a new round."""
    row = approval(ASKED, "withdrawn", kind=kind)

    assert 2 == opened(judged([row]) if kind == "effect" else element.paused_after(ASKED, seen([row])))


def test_a_pause_on_a_result_holds_what_the_journal_knows() -> None:
    """Withdrawn or not, a result that was not let pass does not get out."""
    row = approval(ASKED, "withdrawn", kind="result")
    given = seen([row], journal=[journalled(ASKED, "done")])

    assert isinstance(journal.judge(ASKED, given, NOTHING), Held)

    passed = seen([decided(approval(ASKED, "approved", kind="result"), "approve")], journal=given.of("journal"))
    assert isinstance(journal.judge(ASKED, passed, NOTHING), Journalled)


def test_a_decision_of_somebody_revoked_since_is_asked_anew() -> None:
    """It does not count, and it is no dead end."""
    row = decided(approval(ASKED, "approved"), "approve")

    assert 2 == opened(judged([row], people=[person(revoked_at=NOW + timedelta(hours=1))]))
    assert 2 == opened(judged([row], people=[person(roles=["manager"])]))


def test_an_approval_that_nobody_signed_lets_nothing_pass() -> None:
    """A state that was set by hand is refused, not asked about."""
    row = decided(approval(ASKED, "approved"), "deny")

    verdict = judged([row])

    assert isinstance(verdict, Denied)
    assert "BadSignature" == verdict.error.type


@pytest.mark.parametrize("kind", ["guardrail", "result"])
def test_an_operator_who_lets_a_guardrail_pass_changes_no_arguments(kind: str) -> None:
    """An edit about a guardrail does not count."""
    row = decided(approval(ASKED, "edited", kind=kind), "edit", WORDS)

    if kind == "result":
        assert 2 == opened(element.paused_after(ASKED, seen([row])))
    else:
        assert 2 == opened(element.pause(ASKED, seen([row]), "cap", "why"))


def test_a_guardrail_that_was_let_pass_is_not_asked_again_in_its_visit() -> None:
    """One approval for all turns and tool calls of an agent's visit."""
    first, second = call({}, activity_id="send#1.1"), call({}, activity_id="send#1.2")
    row = decided(approval(first, "approved", kind="guardrail", used_by=first.id), "approve")

    assert element.pause(second, seen([row]), CAP.id, "why") is None
    assert 1 == opened(element.pause(second, seen([approval(first, "pending", kind="guardrail")]), CAP.id, "why"))
