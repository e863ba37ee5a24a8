"""Each guard is what stops its attack: with it the attack comes to nothing, without it alone to an effect.

Where the guard is an element of the gate, it keeps reading and writing and only its judgement is left out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client, WorkflowFailureError

from tests.attacks.forging import Forgery, forge_decision, told
from tests.attacks.graphs import published, speaks, text_of
from tests.attacks.intruder import Call, given, intruding, make
from tests.attacks.trying import marked
from tests.attacks.vendor import Vendor, says
from tests.integration.runs.waits import ended, waiting
from tests.stage import TEMPLATE, Stage
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.signed import Statement, instant
from vertebra.workers.gate import ELEMENTS

pytestmark = [pytest.mark.attack, pytest.mark.server]

REFUND = json.loads((TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()[3])
MAIL: dict[str, Json] = {"to": "mallory@example.org", "subject": "x", "text": "y"}
TEXT = json_text({"text": "x"})


@dataclass(frozen=True)
class Field:
    """What an attack is made with."""

    stage: Stage
    intruder: Client

    @property
    def mails(self) -> int:
        """Every mail so far."""
        return sum(path.is_file() for path in self.stage.world.maildir.rglob("*"))

    @property
    def effects(self) -> int:
        """Everything that was bought or mailed so far."""
        return self.mails + len(self.stage.bought())


@pytest.fixture(scope="module")
async def field(stage: Stage, vendor: Vendor) -> AsyncIterator[Field]:
    vendor.turned["one"] = says("hello")
    await published(stage, text_of("guarded", speaks("one", write=True), principal=False))
    async with intruding(stage) as client:
        yield Field(stage, client)


async def victim(field: Field) -> tuple[str, dict[str, str]]:
    """A run that waits for its approval and was taken from its workflow, with its contexts as headers."""
    handle = await field.stage.start(field.stage.support, REFUND)
    await waiting(handle.id, field.stage, "approval")
    await handle.terminate()
    rows = await field.stage.sql("select agent, id from contexts where run = %(run)s", run=handle.id)
    return handle.id, {row["agent"]: json.dumps(row["id"]) for row in rows}


async def calls(field: Field, activity: str, id_: str, sent: tuple[str], header: str, run: str) -> int:
    """How many effects one intruding call has."""
    before = field.effects
    await make(field.intruder, run, [Call("attack", activity, id_, sent, header)])
    return field.effects - before


async def beyond_its_grant(field: Field) -> int:
    run, mine = await victim(field)
    asked = given("tool", "research", turn=1, tool_call="c1", tool="send_email", values=MAIL)
    return await calls(field, "tool", "research#1.1.9", asked, mine["researcher"], run)


async def with_anothers_context(field: Field) -> int:
    (run, _), (_, others) = await victim(field), await victim(field)
    search = given("llm", "draft", turn=7, values={"ticket": "x", "facts": []})
    return await calls(field, "llm", "draft#1.7", search, others["writer"], run)


async def before_its_approval(field: Field) -> int:
    stage, before = field.stage, field.mails
    handle = await stage.start(stage.support, REFUND)
    for _ in range(1200):
        if field.mails > before or await stage.sql("select 1 from waits where run = %(id)s", id=handle.id):
            break
        await asyncio.sleep(0.05)
    return field.mails - before


async def a_second_time(field: Field) -> int:
    run, mine = await victim(field)
    again = given("llm", "classify", turn=1, values={"ticket": REFUND["ticket"]})
    return await calls(field, "llm", "classify#1.1", again, mine["classifier"], run)


async def from_another_node(field: Field) -> int:
    run, mine = await victim(field)
    sent = given("tool", "apologise", tool="send_email", values=MAIL)
    return await calls(field, "tool", "apologise#1", sent, mine[""], run)


async def with_a_forged_context(field: Field) -> int:
    run, mine = await victim(field)
    wide = b'{"permissions":["execute_tools"],"tools":["send_email"],"models":[]}'
    await field.stage.sql(
        'update contexts set "grant" = %(w)s where id = %(id)s', w=wide, id=json.loads(mine["researcher"])
    )
    asked = given("tool", "research", turn=1, tool_call="c1", tool="send_email", values=MAIL)
    return await calls(field, "tool", "research#1.1.9", asked, mine["researcher"], run)


async def decided(field: Field, forgery: Forgery) -> int:
    """How many mails a run sends on a forged decision."""
    stage = field.stage
    handle = await stage.start(stage.support, REFUND)
    approval = (await waiting(handle.id, stage, "approval"))["ref"]
    before = field.effects
    await forge_decision(stage, approval, forgery)
    await stage.wake(handle.id)
    for _ in range(1200):
        if field.effects > before or await told(handle.id, "decision_refused", stage):
            break
        await asyncio.sleep(0.05)
    return field.effects - before


async def by_somebody_without_the_role(field: Field) -> int:
    return await decided(field, Forgery("", by="mallory"))


async def under_anothers_signature(field: Field) -> int:
    says_ada: dict[str, object] = {"person": "ada", "key": field.stage.keys["ada"].id}
    return await decided(field, Forgery("", by="mallory", says=says_ada))


async def with_an_edited_verb(field: Field) -> int:
    return await decided(field, Forgery("", says={"verb": "deny"}, columns={"verb": "approve"}))


async def started(field: Field, **fields: str) -> int:
    """How much a run buys that is started with such a ticket."""
    stage, run, before = field.stage, f"guarded-{secrets.token_hex(6)}", field.effects
    graph = stage.compile(text_of("guarded", speaks("one", write=True), principal=False))
    ticket = stage.ticket(graph, run, TEXT, **fields)
    handle = await stage.start_raw(graph.name, run, marked(version=graph.version, input=TEXT, ticket=ticket))
    try:
        await ended(handle, stage)
    except WorkflowFailureError:
        return 0
    return field.effects - before


async def with_an_expired_ticket(field: Field) -> int:
    return await started(field, expires_at=instant(datetime.now(UTC) - timedelta(hours=1)))


async def by_nobodys_starter(field: Field) -> int:
    return await started(field, by="mallory")


def unjudged(name: str) -> dict[str, object]:
    """The gate whose element of this name lets everything pass."""
    elements = tuple(
        dataclasses.replace(element, judge=lambda *_: None) if element.name == name else element for element in ELEMENTS
    )
    assert elements != ELEMENTS
    return {"vertebra.workers.gate.parts.ELEMENTS": elements}


def nothing(*_: object) -> None:
    """Checks nothing."""


def unverified(data: bytes, signature: bytes, public: bytes) -> Statement:
    """Reads a statement without a look at its signature."""
    return Statement.of(data)


Attack = Callable[[Field], Awaitable[int]]
ROWS: dict[str, object] = {
    "vertebra.activities.load.check_row": nothing,
    "vertebra.workers.gate.approval.check_row": nothing,
}
GUARDS: dict[str, tuple[Attack, dict[str, object]]] = {
    "the grant": (beyond_its_grant, unjudged("permission")),
    "the context of the run": (with_anothers_context, unjudged("context")),
    "the approval": (before_its_approval, unjudged("approval")),
    "the journal": (a_second_time, unjudged("journal")),
    "the node's own calls": (from_another_node, {"vertebra.workers.interceptor._is_nodes_own": lambda *_: True}),
    "the seal": (with_a_forged_context, {"vertebra.workers.gate.context.is_sealed": lambda *_: True}),
    "the role": (by_somebody_without_the_role, {"vertebra.policies.decision.check_role": nothing}),
    "the signature": (under_anothers_signature, {"vertebra.policies.decision.verify": unverified}),
    "the row as it was signed": (with_an_edited_verb, ROWS),
    "the ticket's end": (with_an_expired_ticket, {"vertebra.activities.admit.check_times": nothing}),
    "the starter's role": (by_nobodys_starter, {"vertebra.activities.admit._starter": lambda person: person}),
}


@pytest.mark.parametrize("guard", GUARDS)
async def test_the_attack_succeeds_only_without_its_guard(
    field: Field, guard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the guard there is no effect; without this one guard there is exactly one."""
    attack, removed = GUARDS[guard]

    stopped = await attack(field)
    for target, instead in removed.items():
        monkeypatch.setattr(target, instead)
    succeeded = await attack(field)

    assert (0, 1) == (stopped, succeeded)
