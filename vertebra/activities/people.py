"""Rows of people, approvals and signatures as the policies' values."""

from __future__ import annotations

from collections.abc import Iterable

from vertebra.policies.decision import Asked, Person, Signed
from vertebra.store.transaction import Row


def person_of(row: Row) -> Person:
    """A row of `people`."""
    public = row["public_key"]
    return Person(
        name=row["name"],
        key=row["key"],
        public_key=None if public is None else bytes(public),
        roles=tuple(row["roles"]),
        signer=row["signer"],
        revoked_at=row["revoked_at"],
    )


def people_of(rows: Iterable[Row]) -> tuple[Person, ...]:
    return tuple(person_of(row) for row in rows)


def signed_of(row: Row, at: str = "at") -> Signed:
    """The signed part of a row; `at` is the column of the database's time."""
    return Signed(bytes(row["statement"]), bytes(row["signature"]), row["key"], row[at])


def asked_of(row: Row) -> Asked:
    """A row of `approvals`."""
    return Asked(
        id=row["id"],
        run=row["run"],
        digest=row["digest"],
        assign=tuple(row["assign"]),
        backup=tuple(row["backup"]),
        escalate_after=row["escalate_after"],
        expires_at=row["expires_at"],
    )
