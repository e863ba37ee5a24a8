"""Rows of people, approvals and signatures as the policies' values, and who may be behind a signature."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable

from vertebra.policies.decision import Asked, Person, Signed
from vertebra.schemas.canonical import Json, digest_of
from vertebra.schemas.errors import BadJson, BadSignature
from vertebra.schemas.signed import Statement
from vertebra.schemas.strict_json import read_json
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row

COVERED = ("person", "key", "nonce", "verb", "reason", "arguments_digest")
"""Columns that repeat what was signed, so that they can be asked for; they count only where they agree with it."""


def people_query(names: Collection[str], keys: Collection[str]) -> Query:
    """The people of these names or keys; `people_of` reads the rows."""
    return Query("person", named("steps", "person"), {"names": sorted(names), "keys": sorted(keys)})


def signers_query(signed: Iterable[Signed], also: Iterable[str] = ()) -> Query:
    """The holders of the keys, whom the statements name, and whoever is named besides."""
    rows = list(signed)
    return people_query({*also, *(name for row in rows for name in _named(row))}, {row.key for row in rows})


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
    used = row.get("applied_at") is not None
    return Signed(bytes(row["statement"]), bytes(row["signature"]), row["key"], row[at], used)


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
        kind=row["kind"],
    )


def arguments_of(row: Row) -> Json:
    """What a decision or command was given, null without; `check_row` has seen that it can be read."""
    value: Json = None if row["arguments"] is None else json.loads(bytes(row["arguments"]))
    return value


def check_row(statement: Statement, row: Row) -> None:
    """Raise BadSignature where a decision's or command's row says something else than was signed."""
    for name in COVERED:
        if getattr(statement, name) != row[name]:
            raise BadSignature(f"the row's {name} is not what was signed")
    if row["arguments"] is None:
        if statement.arguments_digest is not None:
            raise BadSignature("the row has lost the arguments that were signed")
        return
    data = bytes(row["arguments"])
    if digest_of(data) != statement.arguments_digest:
        raise BadSignature("the arguments are not those that were signed")
    try:
        read_json(data)
    except BadJson as problem:
        raise BadSignature(f"the arguments cannot be read: {problem}") from None


def _named(signed: Signed) -> list[str]:
    """Whom a statement names that nobody has verified yet; nobody where it cannot be read."""
    with contextlib.suppress(BadJson, AssertionError, KeyError, TypeError):  # author_of refuses what cannot be read
        plain = read_json(signed.statement)
        assert isinstance(plain, dict)
        return [str(plain["person"])]
    return []
