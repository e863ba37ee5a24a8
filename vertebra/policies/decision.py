"""Whether a signed row counts: who signed what, in which role, in time. Pure; every check raises what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from vertebra.policies.fields import check_fields
from vertebra.policies.signature import check_times, verify
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import ApprovalClosed, BadInput, BadSignature, PermissionDenied
from vertebra.schemas.fields import fields_of
from vertebra.schemas.signed import Kind, Statement


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody enrolled by the owner. A `signer` signs for people whom it has authenticated."""

    name: str
    key: str | None
    public_key: bytes | None
    roles: tuple[str, ...]
    signer: bool = False
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """The bytes that were signed, and when the database took them."""

    statement: bytes
    signature: bytes
    key: str
    at: datetime
    used: bool = False
    """It has taken effect already: a revocation since then changes nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval as it was shown, and who may decide it until when."""

    id: str
    run: str
    digest: str
    assign: tuple[str, ...]
    backup: tuple[str, ...]
    escalate_after: datetime | None
    expires_at: datetime | None
    kind: str = "effect"


def author_of(signed: Signed, kind: Kind, people: Iterable[Person]) -> tuple[Statement, Person]:
    """The statement and the enrolled person behind it. Raises BadSignature; PermissionDenied if one was revoked."""
    known = list(people)
    holder = next((person for person in known if person.key == signed.key), None)
    if holder is None or holder.public_key is None:
        raise BadSignature(f"key {signed.key!r} belongs to nobody who is enrolled")
    _check_standing(holder, signed)
    statement = verify(signed.statement, signed.signature, holder.public_key)
    if statement.kind != kind:
        raise BadSignature(f"a {statement.kind!r} was signed, not a {kind!r}")
    if statement.person == holder.name:
        return statement, holder
    if not holder.signer:
        raise BadSignature(f"{holder.name!r} may not sign for {statement.person!r}")
    person = next((person for person in known if person.name == statement.person), None)
    if person is None:
        raise BadSignature(f"{statement.person!r} is not enrolled")
    _check_standing(person, signed)
    return statement, person


def check_decision(asked: Asked, signed: Signed, people: Sequence[Person]) -> Statement:
    """The decision that counts for this approval. Raises BadSignature, PermissionDenied, ApprovalClosed."""
    statement, person = author_of(signed, "decision", people)
    if (statement.id, statement.run) != (asked.id, asked.run):
        raise BadSignature("the decision was signed for another approval")
    if statement.digest != asked.digest:
        raise BadSignature("the decision was signed for other arguments than were shown")
    check_times(statement, signed.at)
    if asked.expires_at is not None and signed.at >= asked.expires_at:
        raise ApprovalClosed(f"approval {asked.id} expired before it was decided")
    check_role(asked, person, signed.at)
    if statement.verb == "edit" and asked.kind in ("guardrail", "result"):
        raise PermissionDenied("who lets a guardrail pass may not change the call", at=asked.id, do="approve or deny")
    return statement


def check_answer(form: str | None, verb: str, answer: Json) -> Json:
    """The answer to a question, with the defaults of its form filled in. Raises PermissionDenied if it does not fit.

    `form`: the fields of a `human` node as JSON; None where nothing is asked but yes or no.
    """
    if form is None or verb != "approve":
        return answer
    try:
        return check_fields(fields_of(form), answer, at="the answer")
    except BadInput as error:
        raise PermissionDenied(f"the answer does not fit the form: {error.message}") from None


def _check_standing(person: Person, signed: Signed) -> None:
    since = person.revoked_at
    if since is not None and (not signed.used or since <= signed.at):
        raise PermissionDenied(f"{person.name!r} was revoked")


def check_role(asked: Asked, person: Person, at: datetime) -> None:
    """Only holders of an assigned role decide, from the escalation on also the backup; nobody else, admin included."""
    if set(person.roles) & set(asked.assign):
        return
    if set(person.roles) & set(asked.backup):
        if asked.escalate_after is not None and at >= asked.escalate_after:
            return
        raise PermissionDenied(f"{person.name!r} is backup: the approval has not been escalated yet", at=asked.id)
    needed = " or ".join(repr(role) for role in asked.assign) or "nobody"
    do = "sign as somebody who has it, with --as NAME; see: vertebra people list" if asked.assign else None
    raise PermissionDenied(f"{person.name!r} may not decide this; it needs {needed}", at=asked.id, do=do)
