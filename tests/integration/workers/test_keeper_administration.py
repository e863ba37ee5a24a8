"""What was published, revoked and changed about people stands in the tenant's stream: once, and by whom."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.integration.workers.desk import office
from tests.stage import Stage
from tests.stores import KEYS
from vertebra.audit.read import verify_tenant
from vertebra.client import contexts, graphs
from vertebra.client.graphs import PinnedText
from vertebra.client.people import Enrolment, enrol, revoke_person
from vertebra.client.signing import Signer
from vertebra.compiler.catalogue import pinned_prices
from vertebra.policies.signature import SigningKey
from vertebra.schemas.audit import Entry
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.store.pool import Connection
from vertebra.workers.keeper import administration

pytestmark = pytest.mark.server

SAYS = """
graph: {name}
version: 1.0.0
input: {{text: {{type: string, required: true}}}}
output: {{said: {{type: string, from: one.text}}}}
spine: {{principal: svc-support, expires_in: 1h, budget: {{usd: 1.00, tokens: 1000000, on_breach: reject}}}}
agents:
  speaker: {{type: llm, model: {{provider: scripted, model: small}}, prompt: say@1}}
nodes:
  one: {{agent: speaker, input: {{text: input.text}}}}
edges:
  - one -> end
"""


@dataclass(frozen=True)
class Admin:
    """A stage with connections as the API and the owner have them."""

    stage: Stage
    api: Connection
    owner: Connection

    def signer(self, person: str) -> Signer:
        return Signer(person, self.stage.keys[person])

    async def publish(self, name: str, by: str = "ada") -> CompiledGraph:
        """Publish a graph of this name, as `vertebra publish` does."""
        graph = self.stage.compile(SAYS.format(name=name))
        prompts = [prompt for prompt in self.stage.prompts.values() if prompt.digest in graph.prompts.values()]
        texts = [PinnedText("prompt", prompt.canonical) for prompt in prompts]
        texts.append(PinnedText("prices", pinned_prices(graph, self.stage.project.prices).canonical))
        assert "published" == await graphs.publish(self.api, self.signer(by), graph, texts)
        return graph

    async def record(self) -> None:
        """What the keeper does when its time has come."""
        await self.stage.sql("update outbox set due_at = now() where kind = 'audit' and done_at is null")
        await administration.do(office(self.stage))

    async def told(self, operation: str, **detail: object) -> list[Entry]:
        """The tenant's entries of one operation about one thing."""
        rows = await self.stage.sql("select body from audit where stream = 'admin/default' order by seq")
        found = [Entry.model_validate_json(bytes(row["body"])) for row in rows]
        return [one for one in found if one.operation == operation and one.detail.items() >= detail.items()]


@pytest.fixture
async def admin(stage: Stage) -> AsyncIterator[Admin]:
    if "rory" not in stage.keys:
        await stage.enroll("rory", "admin")
    async with stage.api.connection() as api, stage.owner.connection() as owner:
        yield Admin(stage, api, owner)


async def test_a_publication_is_on_record_once(admin: Admin) -> None:
    """Version, digest and author, verified; however many keepers look, and how often."""
    graph = await admin.publish("recorded-once")

    await asyncio.gather(*(admin.record() for _ in range(4)))
    await admin.record()

    [entry] = await admin.told("graph_published", digest=graph.digest)
    assert ("ada", True, "recorded-once", "1.0.0") == (entry.actor, entry.success, entry.spine, entry.detail["version"])
    assert [] == await admin.stage.sql("select 1 from outbox where kind = 'audit' and done_at is null")


async def test_a_version_made_current_again_is_another_publication(admin: Admin) -> None:
    """It bears a new signature, so it is a new entry."""
    graph = await admin.publish("made-current")
    await admin.record()
    await admin.stage.sql("update graphs set at = at - interval '1 hour' where name = 'made-current'")
    newer = admin.stage.compile(SAYS.format(name="made-current").replace("1.0.0", "1.1.0"))
    await admin.stage.publish(newer)

    assert "made current" == await graphs.republish(admin.api, admin.signer("ada"), "made-current", "1.0.0")
    await admin.record()

    assert 2 == len(await admin.told("graph_published", digest=graph.digest))


async def test_every_change_of_a_person_is_on_record(admin: Admin) -> None:
    """Enrolled, given another role, revoked: three entries, each by who did it; no change is no entry."""
    name, key = f"eve-{secrets.token_hex(3)}", SigningKey(secrets.token_bytes(32))
    changes = [("starter",), ("starter",), ("author", "starter")]
    for number, roles in enumerate(changes):
        await enrol(admin.owner, [Enrolment(name, roles, key.public)], by=f"owner-{number}")
        await admin.record()
    await revoke_person(admin.owner, name, by="root")
    await admin.record()

    enrolled = await admin.told("person_enrolled", person=name)
    [revoked] = await admin.told("person_revoked", person=name)

    contents = [json.loads(one.input.text) for one in enrolled if one.input is not None and one.input.text is not None]
    assert [("owner-0", ["starter"]), ("owner-2", ["author", "starter"])] == [
        (one.actor, content["roles"]) for one, content in zip(enrolled, contents, strict=True)
    ]
    assert ("root", key.id) == (revoked.actor, contents[0]["key"])


async def test_a_revocation_is_on_record_with_its_reason(admin: Admin) -> None:
    """What was revoked, by whom and why."""
    id_ = await contexts.revoke(admin.api, admin.signer("rory"), "tool", "no-such-tool", "it leaks")

    await admin.record()

    [entry] = await admin.told("right_revoked", revocation=id_)
    assert ("rory", "tool", "no-such-tool", "it leaks") == (
        entry.actor, entry.detail["kind"], entry.detail["target"], entry.detail["reason"]
    )  # fmt: skip


async def test_what_is_recorded_keeps_the_chain(admin: Admin) -> None:
    """The tenant's stream verifies, MACs included."""
    await admin.publish("verified")
    await admin.record()

    report = await verify_tenant(admin.owner, DEFAULT_TENANT, KEYS)

    assert [] == [finding for finding in report.findings if finding.stream == "admin/default"]


async def test_a_row_that_cannot_be_recorded_does_not_hold_up_the_next(admin: Admin) -> None:
    """What refers to nothing is told as that, and what comes after it is on record."""
    nonsense = [f"publish/{secrets.token_hex(8)}", "revocation/x", "person/nobody/1", "person/", "", "odd" * 1000]
    for ref in nonsense:
        await admin.stage.sql(
            "insert into outbox (kind, ref) values ('audit', %(ref)s) on conflict do nothing", ref=ref
        )
    graph = await admin.publish(f"after-nonsense-{secrets.token_hex(3)}")

    await admin.record()

    assert 1 == len(await admin.told("graph_published", digest=graph.digest))
    refused = ("publication_refused", "revocation_refused", "person_refused", "administration_refused")
    told = [len(await admin.told(operation)) for operation in refused]
    assert [1, 1, 2, 2] == told
