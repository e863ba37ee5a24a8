"""Who is enrolled with which key and which roles; only the owner of the database may write this list."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vertebra.client.signing import Signer
from vertebra.policies.decision import Person
from vertebra.policies.signature import key_id
from vertebra.schemas.errors import Conflict, NotFound, PermissionDenied
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.store.people import people_of, people_query
from vertebra.store.pool import Link
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, pipelined, trip

PLATFORM_ROLES = ("starter", "author", "operator", "admin")


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Somebody to be written into the list. A service has no key and decides nothing."""

    name: str
    roles: tuple[str, ...]
    public_key: bytes | None
    service: bool = False
    signer: bool = False


async def people(connection: Link) -> list[Row]:
    """Everybody, by name."""
    [rows] = await trip(connection, [Query("people", named("client", "people"))])
    return rows


async def known(connection: Link, names: Collection[str], keys: Collection[str]) -> list[Person]:
    """The people of these names or keys."""
    [rows] = await trip(connection, [people_query(names, keys)])
    return list(people_of(rows))


async def acting(connection: Link, signer: Signer, roles: Collection[str] | None = None) -> Person:
    """The enrolled person behind a signer, holding one of `roles`. Raises PermissionDenied, saying what to do."""
    found = await known(connection, [signer.person], [signer.key.id])
    person = next((one for one in found if one.name == signer.person), None)
    holder = next((one for one in found if one.key == signer.key.id), None)
    if person is None or holder is None:
        raise PermissionDenied(
            f"{signer.person!r} is not enrolled with this key",
            do=f"run `vertebra dev`, or: vertebra people add {signer.person}",
        )
    if person.revoked_at is not None or holder.revoked_at is not None:
        do = "sign --as another, or set VERTEBRA_PERSON; somebody new is enrolled with: vertebra people add"
        raise PermissionDenied(f"{signer.person!r} was revoked", do=do)
    if holder.name != person.name and not holder.signer:
        raise PermissionDenied(f"the key of {holder.name!r} may not sign for {person.name!r}")
    if roles is not None and not set(person.roles) & set(roles):
        wanted = " or ".join(repr(role) for role in roles)
        raise PermissionDenied(f"{person.name!r} may not do this; it needs the role {wanted}", do="sign --as another")
    return person


async def enrol(connection: Link, enrolments: Iterable[Enrolment], by: str) -> list[str]:
    """Write people into the list, as the owner; the names that are new or changed. Raises Conflict.

    A revoked name stays revoked, and a name keeps its key: another key is another person.
    """
    wanted = list(enrolments)
    standing = {row["name"]: row for row in await people(connection)}
    for one in wanted:
        _check(one, standing.get(one.name))
    if not wanted:
        return []
    async with pipelined(connection) as opened:
        rows = await opened.trip([_enrol_query(one, by) for one in wanted])
        changed = [row["name"] for found in rows for row in found]
        await opened.commit([_told(name) for name in changed])
    return changed


async def revoke_person(connection: Link, name: str, by: str) -> None:
    """End what a person may do, for good, as the owner. Raises NotFound."""
    revoke = Query("revoke_person", named("client", "revoke_person"), {"name": name, "by": by})
    async with pipelined(connection) as opened:
        [rows] = await opened.trip([revoke])
        if not rows:
            raise NotFound(f"nobody of the name {name!r} is enrolled, or was revoked before", do="vertebra people list")
        await opened.commit([_told(name)])


def audit_query(ref: str) -> Query:
    """Ask the keeper, who holds the audit key, to put a row on record."""
    params = {"tenant": DEFAULT_TENANT, "kind": "audit", "run": None, "ref": ref}
    return Query("put_outbox", named("client", "put_outbox"), params)


def _told(name: str) -> Query:
    """Every change is on record, so every change has a nonce."""
    return audit_query(f"person/{name}/{secrets.token_hex(8)}")


def _check(one: Enrolment, standing: Row | None) -> None:
    if standing is None:
        return
    if standing["revoked_at"] is not None:
        raise Conflict(f"{one.name!r} was revoked, and stays so", do="enrol the person under another name")
    key = None if one.public_key is None else key_id(one.public_key)
    if standing["key"] is not None and standing["key"] != key:
        raise Conflict(
            f"{one.name!r} is enrolled with another key than the one given",
            do="put the old key file back, or revoke the person and enrol it under another name",
        )


def _enrol_query(one: Enrolment, by: str) -> Query:
    params = {
        "tenant": DEFAULT_TENANT,
        "name": one.name,
        "public_key": one.public_key,
        "key": None if one.public_key is None else key_id(one.public_key),
        "roles": sorted(set(one.roles)),
        "service": one.service,
        "signer": one.signer,
        "by": by,
    }
    return Query("enrol", named("client", "enrol"), params)
