"""Publications and revocations that nobody signed who may: the tenant's stream tells of them as refused."""

from __future__ import annotations

import json
import secrets
from typing import LiteralString

import pytest

from tests.attacks.forging import Forgery, row_of
from tests.integration.workers.desk import office
from tests.stage import Stage
from vertebra.policies.signature import SigningKey
from vertebra.schemas.canonical import digest, digest_of
from vertebra.store.transaction import Query, once
from vertebra.workers.keeper import administration

pytestmark = [pytest.mark.attack, pytest.mark.server]

_GRAPH: LiteralString = (
    "insert into graphs (name, version, digest, bytes, engine, draft, published_by, key, nonce, statement, signature)"
    " values (%(name)s, '1.0.0', %(digest)s, %(bytes)s, 1, false, %(person)s, %(key)s, %(nonce)s, %(statement)s,"
    " %(signature)s)"
)
_REVOCATION: LiteralString = (
    "insert into revocations (id, kind, target, reason, person, key, nonce, statement, signature) values (%(id)s,"
    " 'tool', %(target)s, %(reason)s, %(person)s, %(key)s, %(nonce)s, %(statement)s, %(signature)s)"
)
_OUTBOX: LiteralString = "insert into outbox (kind, ref) values ('audit', %(ref)s)"


async def publish(stage: Stage, forgery: Forgery) -> str:
    """Write a publication with the API's rights, as it was forged; gives the graph's name."""
    name, data = f"forged-{secrets.token_hex(6)}", secrets.token_bytes(40)
    about = stage.statement("publish", "ada", id=f"{name}@1.0.0", digest=digest_of(data)).model_dump(mode="json")
    row = row_of(forgery, about, stage.keys[forgery.by])
    held = {"name": name, "bytes": data, "digest": digest_of(data)}
    columns = {**held, **row, **forgery.columns}
    told = Query("told", _OUTBOX, {"ref": f"publish/{columns['nonce']}"})
    await once(stage.api, [Query("forge", _GRAPH, columns), told])
    return name


async def revoke(stage: Stage, forgery: Forgery) -> str:
    """Write a revocation with the API's rights, as it was forged; gives its id."""
    id_, target = secrets.token_hex(8), f"tool-{secrets.token_hex(4)}"
    what = digest({"kind": "tool", "target": target})
    about = stage.statement("revocation", "rory", id=id_, verb="tool", reason="it leaks").model_dump(mode="json")
    key = stage.keys[forgery.by]
    row = row_of(Forgery(forgery.name, forgery.by, {"arguments_digest": what, **forgery.says}), about, key)
    told = Query("told", _OUTBOX, {"ref": f"revocation/{id_}"})
    columns = {"id": id_, "target": target, **row, **forgery.columns}
    await once(stage.api, [Query("forge", _REVOCATION, columns), told])
    return id_


async def told(stage: Stage, operation: str) -> list[dict[str, object]]:
    """The details of the tenant's entries of one operation."""
    rows = await stage.sql("select convert_from(body, 'UTF8') as body from audit where stream = 'admin/default'")
    found = [json.loads(row["body"]) for row in rows]
    return [{**one["detail"], **one} for one in found if one["operation"] == operation]


@pytest.fixture
async def people(stage: Stage) -> None:
    """Who may publish or revoke, who may not, who may no longer, and somebody unknown."""
    if "rory" not in stage.keys:
        await stage.enroll("rory", "admin")
        await stage.enroll("parted", "author", "admin")
        await stage.sql("update people set revoked_at = now() where name = 'parted'")
        stage.keys["outsider"] = SigningKey(secrets.token_bytes(32))


@pytest.mark.usefixtures("people")
async def test_no_forged_publication_is_recorded_as_one(stage: Stage) -> None:
    """Whoever may write rows as the API, and hold the key of somebody who may not publish, gets refusals on record."""
    ada = stage.keys["ada"].id
    tried = [
        Forgery("by somebody without a role", by="mallory"),
        Forgery("by the manager", by="bo"),
        Forgery("in an author's name", by="mallory", says={"person": "ada"}),
        Forgery("under an author's key", by="mallory", says={"person": "ada", "key": ada}, columns={"key": ada}),
        Forgery("by an unknown key", by="outsider", says={"person": "ada"}),
        Forgery("by somebody who was revoked", by="parted"),
        Forgery("for another graph", says={"id": "customer-support@1.0.0"}),
        Forgery("for another digest", says={"digest": "sha256:0"}),
        Forgery("for no digest", says={"digest": None}),
        Forgery("of other bytes", columns={"bytes": b"changed"}),
        Forgery("a start was signed", says={"kind": "start"}),
        Forgery("a revocation was signed", says={"kind": "revocation"}),
        Forgery("in another's column", columns={"person": "rory"}),
        Forgery("another nonce", columns={"nonce": secrets.token_hex(8)}),
        Forgery("from the future", says={"at": "2999-01-01T00:00:00.000000Z"}),
        Forgery("no signature", signature=b""),
        Forgery("no statement", statement=b"null"),
    ]
    forged = [await publish(stage, forgery) for forgery in tried]
    genuine = await publish(stage, Forgery("genuine"))

    await administration.do(office(stage))

    published = {entry["spine"] for entry in await told(stage, "graph_published")}
    refused = [entry["spine"] for entry in await told(stage, "publication_refused")]
    assert genuine in published
    assert [] == [
        forgery.name for name, forgery in zip(forged, tried, strict=True) if name in published or name not in refused
    ]
    assert len(tried) == len([name for name in refused if name in forged])


@pytest.mark.usefixtures("people")
async def test_no_forged_revocation_is_recorded_as_one(stage: Stage) -> None:
    """Only an administrator's own words about this very target and reason are told as a revocation."""
    tried = [
        Forgery("by an author", by="ada"),
        Forgery("by somebody without a role", by="mallory"),
        Forgery("in an administrator's name", by="mallory", says={"person": "rory"}),
        Forgery("by somebody who was revoked", by="parted"),
        Forgery("another target was signed", by="rory", columns={"target": "send_email"}),
        Forgery("another kind was signed", by="rory", says={"verb": "vendor"}),
        Forgery("another revocation was signed", by="rory", says={"id": "x"}),
        Forgery("another reason", by="rory", columns={"reason": "because"}),
        Forgery("a publication was signed", by="rory", says={"kind": "publish"}),
    ]
    forged = [await revoke(stage, forgery) for forgery in tried]
    genuine = await revoke(stage, Forgery("genuine", by="rory"))

    await administration.do(office(stage))

    revoked = {entry["revocation"] for entry in await told(stage, "right_revoked")}
    refused = {entry.get("revocation") for entry in await told(stage, "revocation_refused")}
    assert genuine in revoked
    assert [] == [forgery.name for id_, forgery in zip(forged, tried, strict=True) if id_ in revoked]
    assert set(forged) <= refused
    await stage.sql("update revocations set lifted_at = now()")


@pytest.mark.usefixtures("people")
async def test_a_genuine_publication_is_not_hidden_or_repeated(stage: Stage) -> None:
    """A forged row of the same nonce, and other references to the same publication, change nothing of its one entry."""
    nonce = secrets.token_hex(8)
    forged = await publish(stage, Forgery("of the same nonce", by="mallory", says={"nonce": nonce}))
    genuine = f"forged-{secrets.token_hex(6)}"
    data = secrets.token_bytes(40)
    about = stage.statement("publish", "ada", id=f"{genuine}@1.0.0", digest=digest_of(data)).model_dump(mode="json")
    row = row_of(Forgery("genuine", says={"nonce": nonce}), about, stage.keys["ada"])
    held = {"name": genuine, "bytes": data, "digest": digest_of(data)}
    await once(stage.api, [Query("genuine", _GRAPH, {**row, **held})])
    await once(stage.api, [Query("told", _OUTBOX, {"ref": f"publish/{nonce}/again"})])

    for _ in range(2):
        await stage.sql("update outbox set due_at = now() where kind = 'audit'")
        await administration.do(office(stage))

    published = [entry["spine"] for entry in await told(stage, "graph_published")]
    assert (1, 0) == (published.count(genuine), published.count(forged))
