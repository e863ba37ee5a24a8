"""Rights that ran out or were taken away: nothing is bought with them, and only a person gives them back."""

from __future__ import annotations

import asyncio
import json
import secrets

import pytest

from tests.attacks.graphs import published, speaks, text_of
from tests.attacks.vendor import Vendor, says
from tests.integration.runs.waits import Handle, ended, waiting
from tests.stage import Stage

pytestmark = [pytest.mark.attack, pytest.mark.server]

ASK = "  ask: {type: human, show: {text: input.text}, assign: [support_lead]}\n"
SEARCH = "  look: {type: tool, tool: search_docs, args: {query: input.text}}\n"
SPINE = "expires_in: EXPIRES, permissions: [execute_tools], tools: [search_docs]"


async def parked(stage: Stage, vendor: Vendor, name: str, nodes: str, expires: str = "1h") -> tuple[Handle, str]:
    """A run that waits for a person before it does anything."""
    vendor.turned["one"] = says("hello")
    first = nodes.split(":", 1)[0].strip()
    edges = f"edges:\n  - ask -> {first}\n"
    spine = SPINE.replace("EXPIRES", expires)
    graph = await published(stage, text_of(name, ASK + nodes, edges=edges, spine=spine))
    handle = await stage.start(graph, {"text": "x"})
    return handle, (await waiting(handle.id, stage, "approval"))["ref"]


async def calls(run: str, stage: Stage) -> int:
    [row] = await stage.sql("select count(*) as n from attempts where run = %(run)s", run=run)
    number: int = row["n"]
    return number


async def revoke(stage: Stage, kind: str, target: str) -> str:
    id_ = secrets.token_hex(8)
    statement = stage.statement("revocation", "ada", id=id_, verb=kind)
    await stage.sql(
        "insert into revocations (id, kind, target, reason, person, key, nonce, statement, signature) values"
        " (%(id)s, %(kind)s, %(target)s, 'attacked', %(person)s, %(key)s, %(nonce)s, %(statement)s, %(signature)s)",
        id=id_,
        kind=kind,
        target=target,
        **stage.signed(statement, "ada"),
    )
    return id_


async def test_what_was_revoked_does_nothing(stage: Stage, vendor: Vendor) -> None:
    """Agent, model, vendor, tool, context and person: each, revoked while a run waits, stops its next effect."""
    targets = {"agent": "speaker", "model": "scripted/small", "vendor": "scripted", "tool": "search_docs",
               "context": "", "person": "ada"}  # fmt: skip
    stopped: dict[str, str] = {}
    for kind, target in targets.items():
        nodes = SEARCH if kind == "tool" else speaks("one", write=True)
        handle, approval = await parked(stage, vendor, f"revoked-{kind}", nodes)
        if kind == "context":
            agent = "select id from contexts where run = %(run)s and agent = 'speaker'"
            target = (await stage.sql(agent, run=handle.id))[0]["id"]
        id_ = await revoke(stage, kind, target)
        await stage.decide(approval, "approve")
        wait = await waiting(handle.id, stage, "blocked")
        await stage.sql("update revocations set lifted_at = now() where id = %(id)s", id=id_)
        error = json.loads(bytes(wait["error"]))
        stopped[kind] = error["type"]
        assert 0 == await calls(handle.id, stage)
        assert [] == stage.bought(handle.id)

    assert dict.fromkeys(targets, "Revoked") == stopped


async def test_a_revoked_root_stops_every_agent(stage: Stage, vendor: Vendor) -> None:
    """Revoking the spine's own context reaches all contexts that were narrowed from it."""
    handle, approval = await parked(stage, vendor, "revoked-root", speaks("one", write=True))
    [root] = await stage.sql("select id from contexts where run = %(run)s and agent = ''", run=handle.id)

    await revoke(stage, "context", root["id"])
    await stage.decide(approval, "approve")
    wait = await waiting(handle.id, stage, "blocked")

    assert "Revoked" == json.loads(bytes(wait["error"]))["type"]
    assert [] == stage.bought(handle.id)


async def test_rights_that_ran_out_wait_for_their_renewal(stage: Stage, vendor: Vendor) -> None:
    """An expired context buys nothing until an operator renews the run's rights; nobody else's renewal counts."""
    handle, approval = await parked(stage, vendor, "expires", speaks("one", write=True), "1s")
    await asyncio.sleep(1.1)
    await stage.decide(approval, "approve")
    await waiting(handle.id, stage, "renewal")
    assert [] == stage.bought(handle.id)

    await stage.command(handle.id, "renew", by="mallory", arguments={"seconds": 3600})
    await stage.command(handle.id, "renew", arguments={"seconds": 0})
    await asyncio.sleep(1)
    unmoved = len(stage.bought(handle.id))
    await stage.command(handle.id, "renew", arguments={"seconds": 3600})
    output, _ = await ended(handle, stage)

    assert 0 == unmoved
    assert {"said": "hello"} == output
    assert 1 == len(stage.bought(handle.id))
