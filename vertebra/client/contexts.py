"""The rights of a run: who holds which until when, and taking them away."""

from __future__ import annotations

import secrets
import time
from typing import Literal

from vertebra.client.people import acting, audit_query
from vertebra.client.signing import About, Signer, signed
from vertebra.schemas.canonical import digest
from vertebra.schemas.errors import NotFound
from vertebra.schemas.ids import DEFAULT_TENANT, ulid
from vertebra.store.pool import Link
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, pipelined, trip

Target = Literal["context", "person", "agent", "tool", "model", "vendor"]


async def contexts(connection: Link, run: str) -> list[Row]:
    """The contexts of a run, the root first, with renewals and revocations. Raises NotFound."""
    [rows] = await trip(connection, [Query("contexts", named("client", "contexts"), {"run": run})])
    if not rows:
        raise NotFound(f"there is no run {run!r}, or it holds no rights", do="list runs with: vertebra runs list")
    return rows


async def revoke(connection: Link, signer: Signer, kind: Target, target: str, reason: str) -> str:
    """Forbid a name from now on, by a signed row that every gate reads; gives its id.

    A tool, model or agent may be forbidden before there is one; a context has an id that only a mistake makes up.
    Raises PermissionDenied, NotFound.
    """
    await acting(connection, signer, ("admin",))
    if kind == "context":
        await _must_stand(connection, target)
    id_ = ulid(time.time_ns() // 1_000_000, secrets.token_bytes(10))
    what = digest({"kind": kind, "target": target})
    about = About(kind="revocation", id=id_, verb=kind, arguments_digest=what, reason=reason)
    row = {
        "tenant": DEFAULT_TENANT,
        "id": id_,
        "kind": kind,
        "target": target,
        "reason": reason,
        **signed(signer, about).params,
    }
    async with pipelined(connection) as opened:
        put = Query("put_revocation", named("client", "put_revocation"), row)
        await opened.commit([put, audit_query(f"revocation/{id_}")])
    return id_


async def _must_stand(connection: Link, context: str) -> None:
    """Who revokes a mistyped id must not believe that the rights are gone. Raises NotFound."""
    [rows] = await trip(connection, [Query("context_stands", named("client", "context_stands"), {"id": context})])
    if not rows:
        raise NotFound(
            f"there is no context {context!r}, so nothing was revoked", do="list them with: vertebra contexts list RUN"
        )
