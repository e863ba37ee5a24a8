"""Put on record, in the tenant's own stream, what was administered by somebody who lacks the audit key.

The API, the CLI and the owner of the database leave an outbox row beside what they write. Whoever can write there
could write anything, so only signed rows are believed, and a forged one is put on record as refused. People are written
by the owner alone: their row is believed as it stands, and names who wrote it last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from structlog.typing import FilteringBoundLogger

from vertebra.activities import entries
from vertebra.activities.admit import PUBLISHERS
from vertebra.activities.world import World
from vertebra.audit.append import admin_head, admin_head_query, append_query
from vertebra.policies.decision import author_of
from vertebra.policies.signature import check_times
from vertebra.schemas.audit import Entry
from vertebra.schemas.canonical import digest, json_text
from vertebra.schemas.errors import BadSignature, PermissionDenied, PolicyError
from vertebra.schemas.ids import Tenant
from vertebra.schemas.signed import Kind, Statement
from vertebra.store.people import people_of, signed_of, signers_query
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, Transaction, once, transaction
from vertebra.workers.keeper.duty import BATCH, Duty, Office

AT_ONCE = 2
"""They wait for each other at the head of the stream anyway."""
REVOKERS = ("admin",)
REF_SHOWN = 200
COVERED = ("person", "key", "nonce")
"""Columns that repeat what was signed."""

_log: FilteringBoundLogger = structlog.get_logger("vertebra.keeper")


async def do(office: Office) -> int:
    """Record what is due. Raises what one row met after all were tried; that row comes up again, ever more rarely."""
    claim = Query("claim_audits", named("keeper", "claim_audits"), {"limit": BATCH})
    [rows] = await once(office.world.pool, [claim])
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(row: Row) -> None:
        async with slots:
            await _record(office.world, row)

    for result in await asyncio.gather(*(one(row) for row in rows), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
    return len(rows)


async def _record(world: World, row: Row) -> None:
    """One entry for one row, in the transaction that ends the row: so there is never a second one."""
    tenant = Tenant(row["tenant"])
    lock = Query("lock_audit", named("keeper", "lock_audit"), {"id": row["id"]})
    async with transaction(world.pool, "keeper_administration") as opened:
        open_, [head] = await opened.trip([lock, admin_head_query(tenant)])
        if not open_:
            return
        entry = await _entry(world, opened, row["ref"])
        done = Query("done", named("keeper", "done"), {"id": row["id"]})
        await opened.commit([append_query([entry], admin_head(head, tenant), world.audit_key), done])
    if not entry.success:
        _log.warning("what was administered does not count", ref=row["ref"][:REF_SHOWN], error=entry.error)


async def _entry(world: World, opened: Transaction, ref: str) -> Entry:
    """What a reference stands for, or that it stands for nothing."""
    kind, _, name = ref.partition("/")
    match kind:
        case "publish":
            return await _publication(world, opened, name)
        case "revocation":
            return await _revocation(world, opened, name)
        case "person":
            return await _person(world, opened, name.rpartition("/")[0])
    return _unknown(world, "administration_refused", ref, "no such thing is administered")


async def _publication(world: World, opened: Transaction, nonce: str) -> Entry:
    """Of several rows that bear this nonce, since only one of them can have been signed, the one that counts."""
    rows = await _rows(opened, Query("publications", named("keeper", "publications"), {"nonce": nonce}))
    if not rows:
        return _unknown(world, "publication_refused", nonce, "no graph is published under this nonce, or not any more")
    judged = [(row, await _refusal(opened, row, "publish", PUBLISHERS, _check_publication)) for row in rows]
    row, error = min(judged, key=lambda pair: pair[1] is not None)
    return entries.event(
        world,
        "publication_refused" if error else "graph_published",
        row["person"],
        outcome="denied" if error else None,
        success=not error,
        error=error,
        spine=row["name"],
        version=row["version"],
        digest=row["digest"],
        draft=row["draft"],
        key=row["key"],
        nonce=row["nonce"],
    )


async def _revocation(world: World, opened: Transaction, id_: str) -> Entry:
    rows = await _rows(opened, Query("revocation", named("keeper", "revocation"), {"id": id_}))
    if not rows:
        return _unknown(world, "revocation_refused", id_, "there is no such revocation")
    row = rows[0]
    error = await _refusal(opened, row, "revocation", REVOKERS, _check_revocation)
    return entries.event(
        world,
        "revocation_refused" if error else "right_revoked",
        row["person"],
        outcome="denied" if error else None,
        success=not error,
        error=error,
        kind=row["kind"],
        target=row["target"],
        reason=row["reason"],
        revocation=row["id"],
        key=row["key"],
    )


async def _person(world: World, opened: Transaction, name: str) -> Entry:
    rows = await _rows(opened, Query("enrolled", named("keeper", "enrolled"), {"name": name}))
    if not rows:
        return _unknown(world, "person_refused", name, "nobody of this name is enrolled")
    row = rows[0]
    revoked = row["revoked_at"] is not None
    plain = {name: row[name] for name in ("roles", "service", "signer", "key")}
    return entries.event(
        world,
        "person_revoked" if revoked else "person_enrolled",
        row["enrolled_by"],
        content=json_text(plain),
        person=row["name"],
    )


async def _refusal(
    opened: Transaction, row: Row, kind: Kind, roles: tuple[str, ...], check: Callable[[Statement, Row], None]
) -> str | None:
    """Why a signed row does not count; None if it does."""
    signed = signed_of(row)
    [known] = await opened.trip([signers_query([signed])])
    try:
        statement, person = author_of(signed, kind, people_of(known))
        check_times(statement, signed.at)
        for name in COVERED:
            if getattr(statement, name) != row[name]:
                raise BadSignature(f"the row's {name} is not what was signed")
        check(statement, row)
        if not set(person.roles) & set(roles):
            raise PermissionDenied(f"{person.name!r} holds none of the roles that may do this: {', '.join(roles)}")
    except PolicyError as error:
        return str(error)
    return None


def _check_publication(statement: Statement, row: Row) -> None:
    if (statement.id, statement.digest) != (f"{row['name']}@{row['version']}", row["digest"]):
        raise BadSignature("the publication was signed for another graph")
    if row["held"] != row["digest"]:
        raise BadSignature("the graph that is stored is not the one that was signed")


def _check_revocation(statement: Statement, row: Row) -> None:
    what = digest({"kind": row["kind"], "target": row["target"]})
    if (statement.id, statement.verb, statement.arguments_digest) != (row["id"], row["kind"], what):
        raise BadSignature("the revocation was signed for something else than its row says")
    if statement.reason != row["reason"]:
        raise BadSignature("the row's reason is not what was signed")


def _unknown(world: World, operation: str, ref: str, error: str) -> Entry:
    return entries.event(world, operation, "keeper", outcome="denied", success=False, error=error, ref=ref[:REF_SHOWN])


async def _rows(opened: Transaction, query: Query) -> list[Row]:
    [rows] = await opened.trip([query])
    return rows


ADMINISTRATION = Duty("administration", do, lambda times: times.administration_s)
