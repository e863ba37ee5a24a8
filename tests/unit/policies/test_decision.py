"""What somebody signed counts by what they were when they signed it, and only for what was asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vertebra.policies.decision import Asked, Person, Signed, author_of, check_decision, check_role
from vertebra.policies.signature import SigningKey, sign
from vertebra.schemas.errors import PermissionDenied
from vertebra.schemas.signed import Statement, instant

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = SigningKey(b"k" * 32)
ADA = Person("ada", KEY.id, KEY.public, ("operator",))


def signed(kind: str, **more: object) -> Signed:
    """A statement of ada's."""
    says = {"kind": kind, "id": "a", "run": "r", "person": "ada", "key": KEY.id, "at": instant(NOW), "nonce": "n"}
    statement = Statement.model_validate(says | more)
    return Signed(statement.canonical, sign(statement, KEY), KEY.id, NOW)


def test_a_revocation_counts_from_its_own_time_on_for_what_was_done() -> None:
    """What has taken effect stands; what has not, or was signed afterwards, does not."""
    command = signed("command", verb="skip")
    since, before = replace(ADA, revoked_at=NOW + HOUR), replace(ADA, revoked_at=NOW - HOUR)

    assert since == author_of(replace(command, used=True), "command", [since])[1]
    for row, person in ((command, since), (command, before), (replace(command, used=True), before)):
        with pytest.raises(PermissionDenied, match="was revoked"):
            author_of(row, "command", [person])


@pytest.mark.parametrize("kind", ["guardrail", "result"])
def test_who_lets_a_guardrail_pass_edits_nothing(kind: str) -> None:
    """An operator is not who the node's approval is assigned to."""
    asked = Asked("a", "r", "d", ("operator",), (), None, None, kind)

    assert "approve" == check_decision(asked, signed("decision", verb="approve", digest="d"), [ADA]).verb
    with pytest.raises(PermissionDenied, match="may not change the call"):
        check_decision(asked, signed("decision", verb="edit", digest="d"), [ADA])


@pytest.mark.parametrize(("assign", "does"), [(("support_lead",), True), ((), False)])
def test_who_may_not_decide_reads_how_somebody_may(assign: tuple[str, ...], does: bool) -> None:
    """On a laptop the keys of several people are there; where nobody is assigned, no name helps."""
    asked = Asked("a", "r", "d", assign, (), None, None, "effect")

    with pytest.raises(PermissionDenied, match="'ada' may not decide this") as refused:
        check_role(asked, ADA, NOW)

    assert does == ("--as NAME" in str(refused.value))
