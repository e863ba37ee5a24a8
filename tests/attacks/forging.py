"""Writes decisions and commands as whoever holds the API's login could, with any statement under any signature."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import LiteralString

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.stage import Stage
from vertebra.policies.signature import SigningKey
from vertebra.schemas.canonical import canonical_bytes, digest_of
from vertebra.store.transaction import Query, Row, once

_DECISION: LiteralString = (
    "insert into decisions (approval, verb, arguments, arguments_digest, digest, reason, person, key, nonce, statement,"
    " signature) values (%(approval)s, %(verb)s, %(arguments)s, %(arguments_digest)s, %(digest)s, %(reason)s,"
    " %(person)s, %(key)s, %(nonce)s, %(statement)s, %(signature)s)"
)
_COMMAND: LiteralString = (
    "insert into commands (id, run, epoch, node, visit, verb, arguments, arguments_digest, reason, person, key, nonce,"
    " statement, signature) values (%(id)s, %(run)s, %(epoch)s, %(node)s, %(visit)s, %(verb)s, %(arguments)s,"
    " %(arguments_digest)s, %(reason)s, %(person)s, %(key)s, %(nonce)s, %(statement)s, %(signature)s)"
)


@dataclass(frozen=True)
class Forgery:
    """One row. Without changes it is genuine: signed by `by` about the very thing."""

    name: str
    by: str = "ada"
    """Whose key signs."""
    says: dict[str, object] = field(default_factory=dict)
    """What the signed statement says instead."""
    columns: dict[str, object] = field(default_factory=dict)
    """What the row says instead."""
    arguments: bytes | None = None
    statement: bytes | None = None
    """Bytes that are signed instead of a statement."""
    signature: bytes | None = None


def row_of(forgery: Forgery, about: dict[str, object], key: SigningKey) -> dict[str, object]:
    """The columns of the forged row; `about` is what a genuine statement would say."""
    digest = None if forgery.arguments is None else digest_of(forgery.arguments)
    says = {"person": forgery.by, "key": key.id, "nonce": secrets.token_hex(8), "arguments_digest": digest}
    plain = {**about, **says, **forgery.says}
    statement = canonical_bytes(plain) if forgery.statement is None else forgery.statement  # type: ignore[arg-type]  # plain values
    signature = Ed25519PrivateKey.from_private_bytes(key.secret).sign(statement)
    return {
        **{name: plain[name] for name in ("verb", "reason", "person", "key", "nonce", "arguments_digest")},
        "arguments": forgery.arguments,
        "statement": statement,
        "signature": signature if forgery.signature is None else forgery.signature,
    }


async def forge_decision(stage: Stage, approval: str, forgery: Forgery) -> None:
    """Write a decision about this approval."""
    [asked] = await stage.sql("select * from approvals where id = %(id)s", id=approval)
    about = _about(stage, "decision", forgery, id=approval, **_place(asked), digest=asked["digest"], verb="approve")
    row = {"approval": approval, "digest": asked["digest"], **row_of(forgery, about, stage.keys[forgery.by])}
    await once(stage.api, [Query("forge", _DECISION, row | forgery.columns)])


async def forge_command(stage: Stage, run: str, verb: str, forgery: Forgery) -> None:
    """Write a command to this run."""
    id_ = secrets.token_hex(10)
    place = {"run": run, "epoch": 0, "node": None, "visit": None}
    about = _about(stage, "command", forgery, id=id_, **place, verb=verb)
    row = row_of(forgery, about, stage.keys[forgery.by])
    where = {name: forgery.says.get(name, place[name]) for name in ("node", "visit")}
    await once(stage.api, [Query("forge", _COMMAND, {"id": id_, **place, **where, **row} | forgery.columns)])


async def flood(stage: Stage, run: str, forgery: Forgery, number: int, verb: str = "event") -> None:
    """Write so many commands of one kind to this run, past whoever counts them."""
    place = {"run": run, "epoch": 0, "node": None, "visit": None}
    where = {name: forgery.says.get(name, place[name]) for name in ("node", "visit")}
    rows = []
    for id_ in (secrets.token_hex(10) for _ in range(number)):
        about = _about(stage, "command", forgery, id=id_, **place, verb=verb)
        rows.append({"id": id_, **place, **where, **row_of(forgery, about, stage.keys[forgery.by])} | forgery.columns)
    await _write(stage, _COMMAND, rows)


async def flood_decisions(stage: Stage, approval: str, forgery: Forgery, number: int) -> None:
    """Write so many decisions about this approval."""
    [asked] = await stage.sql("select * from approvals where id = %(id)s", id=approval)
    place = {"approval": approval, "digest": asked["digest"]}
    about = _about(stage, "decision", forgery, id=approval, **_place(asked), digest=asked["digest"], verb="approve")
    key = stage.keys[forgery.by]
    await _write(stage, _DECISION, [{**place, **row_of(forgery, about, key)} for _ in range(number)])


async def _write(stage: Stage, text: LiteralString, rows: list[dict[str, object]]) -> None:
    async with stage.api.connection() as connection, connection.cursor() as cursor:
        await cursor.executemany(text, rows)


async def told(run: str, operation: str, stage: Stage) -> list[dict[str, object]]:
    """The entries of one operation in the run's own stream."""
    rows = await stage.sql(
        "select convert_from(body, 'UTF8') as body from audit where stream = %(id)s order by seq", id=run
    )
    return [entry for entry in (json.loads(row["body"]) for row in rows) if entry["operation"] == operation]


def _place(asked: Row) -> dict[str, object]:
    return {"run": asked["run"], "node": asked["node"], "visit": asked["visit"]}


def _about(stage: Stage, kind: str, forgery: Forgery, **about: object) -> dict[str, object]:
    made = stage.statement(kind, "ada", **about)
    return made.model_dump(mode="json")
