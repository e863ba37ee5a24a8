"""Money and the record: nothing is bought that has no price, no key, no budget left, or no audit to be written in."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from tests.attacks.graphs import published, speaks, text_of
from tests.attacks.intruder import Call, given, intruding, make
from tests.attacks.vendor import Vendor, says
from tests.integration.runs.waits import Handle, ended, row_of, waiting
from tests.stage import Stage
from vertebra.ledger.attempts import check_books_query
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import Complaints
from vertebra.schemas.ids import RunId
from vertebra.schemas.money import Price, PriceTable
from vertebra.store.transaction import once

pytestmark = [pytest.mark.attack, pytest.mark.server]

EXOTIC = text_of("GRAPH", speaks("NODE")).replace("model: small", "model: exotic")


async def test_a_model_without_a_price_does_not_compile(stage: Stage) -> None:
    """A graph that names a model which no price list knows is refused with that reason."""
    with pytest.raises(Complaints, match=r"exotic.*pric|pric.*exotic"):
        stage.compile(EXOTIC.replace("GRAPH", "exotic").replace("NODE", "one"))


def priced(stage: Stage, provider: str, model: str) -> Stage:
    """The same stage, whose author reads a list with a price for this model."""
    prices = PriceTable(prices=(Price(provider=provider, model=model, input=1_000_000, output=1_000_000),))
    return dataclasses.replace(stage, project=dataclasses.replace(stage.project, prices=prices))


async def blocked_as(stage: Stage, author: Stage, text: str) -> tuple[str, Handle]:
    """Why the run of this graph is blocked."""
    handle = await stage.start(await published(author, text), {"text": "x"})
    wait = await waiting(handle.id, stage, "blocked")
    kind: str = json.loads(bytes(wait["error"]))["type"]
    return kind, handle


async def test_a_model_whose_price_was_removed_is_not_asked(stage: Stage, vendor: Vendor) -> None:
    """A price that the operator has taken from his list since is no price, also where the graph had pinned it."""
    vendor.turned["once_priced"] = says("hello")
    text = EXOTIC.replace("GRAPH", "once-priced").replace("NODE", "once_priced")

    kind, handle = await blocked_as(stage, priced(stage, "scripted", "exotic"), text)

    assert "Unpriced" == kind
    assert [] == stage.bought(handle.id)


async def test_a_vendor_without_a_key_is_not_asked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its key a real vendor's call fails at once with that reason, and costs nothing."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    model = "claude-sonnet-4-5"
    text = text_of("keyless", speaks("keyless"))
    text = text.replace("provider: scripted, model: small", f"provider: anthropic, model: {model}")

    kind, handle = await blocked_as(stage, priced(stage, "anthropic", model), text)

    assert "ProviderBadKey" == kind
    row = await row_of(handle.id, stage)
    assert (0, 0) == (row["spent_microusd"], row["held_microusd"])


async def test_a_race_of_twenty_for_the_money_of_five_buys_five(stage: Stage, vendor: Vendor) -> None:
    """Twenty branches reserve at once: five are bought, fifteen refused, and no money stays held."""
    names = [f"racer{number:02}" for number in range(20)]
    # a call may cost about 1,300 micro-dollars, and costs 1,237: five fit into 6,600, the sixth never does
    for name in names:
        vendor.turned[name] = says("hello", input_tokens=50, output_tokens=2048)
    nodes = "  first: {type: rules, default: {ok: {value: true}}}\n" + "".join(speaks(name) for name in names)
    nodes += "  rest: {type: rules, default: {ok: {value: true}}}\n"
    edges = f"edges:\n  - first -> {', '.join(names)}\n  - {', '.join(names)} -> rest: {{join: all}}\n"
    graph = await published(stage, text_of("races", nodes, budget="usd: 0.0066, tokens: 1000000", edges=edges))

    handle = await stage.start(graph, {"text": "x"})
    for _ in range(1200):
        blocked = await stage.sql("select error from waits where run = %(id)s and kind = 'blocked'", id=handle.id)
        paid = await stage.sql("select 1 from attempts where run = %(id)s and state = 'settled'", id=handle.id)
        if (len(blocked), len(paid)) == (15, 5):
            break
        await asyncio.sleep(0.05)

    assert ["BudgetExceeded"] * 15 == [json.loads(bytes(row["error"]))["type"] for row in blocked]
    assert 5 == len(stage.bought(handle.id))
    row = await row_of(handle.id, stage)
    assert (5 * 1237, 0, 0) == (row["spent_microusd"], row["held_microusd"], row["held_tokens"])
    assert [[]] == await once(stage.owner, [check_books_query(RunId(handle.id))])


SLOW = (
    "alter table runs enable row level security",
    "create policy everybody on runs using (true)",
    "create policy slow on runs as restrictive for update to vertebra_gate using"
    " (case when current_query() like '%held_microusd = held%' then pg_sleep(2) is not null else true end)",
)
"""A reservation takes two seconds from what it reads to what it says."""
FAST = (
    "drop policy slow on runs",
    "drop policy everybody on runs",
    "alter table runs disable row level security",
)
RESERVING = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and query like '%held_microusd = held%'"


async def test_a_top_up_between_a_refusal_and_its_hold_is_not_missed(stage: Stage, vendor: Vendor) -> None:
    """A call that was refused by the old limits, and held when the new ones stood already, is made."""
    vendor.turned["crossed"] = says("hello")
    nodes = "  ask: {type: human, show: {text: input.text}, assign: [support_lead]}\n" + speaks("crossed", write=True)
    edges = "edges:\n  - ask -> crossed\n"
    text = text_of("crosses", nodes, edges=edges, breach="pause", budget="usd: 0.000001, tokens: 1000000")
    handle = await stage.start(await published(stage, text), {"text": "x"})
    wait = await waiting(handle.id, stage, "approval")

    for statement in SLOW:
        await stage.sql(statement)
    try:
        await stage.decide(wait["ref"], "approve")
        async with asyncio.timeout(30):
            while not await stage.sql(RESERVING):  # noqa: ASYNC110  # servers ring no bell
                await asyncio.sleep(0.02)
        # as another worker applies a top-up: the reservation has read the old limits
        await stage.sql("update runs set limit_microusd = 1000000 where id = %(id)s", id=handle.id)
    finally:
        for statement in FAST:
            await stage.sql(statement)

    output, row = await ended(handle, stage)
    assert {"said": "hello"} == output
    assert (0, 0) == (row["held_microusd"], row["held_tokens"])


APPEND = "function vertebra_append_run(text, bigint, bytea, bytea[], bytea[], bytea[], text)"


async def test_without_an_audit_nothing_is_bought_or_sent(stage: Stage, vendor: Vendor) -> None:
    """While no entry can be written, models and tools called at the gate or by the run do nothing; then all goes on."""
    vendor.turned["audited"] = says("hello")
    nodes = (
        "  ask: {type: human, show: {text: input.text}, assign: [support_lead]}\n"
        + speaks("audited", write=True)
        + "  post: {type: tool, tool: send_email,\n"
        + "    args: {to: {value: a@example.org}, subject: input.text, text: input.text}}\n"
    )
    edges = "edges:\n  - ask -> audited\n  - audited -> post\n"
    spine = "expires_in: 1h, permissions: [execute_tools], tools: [send_email]"
    graph = await published(stage, text_of("audited", nodes, edges=edges, spine=spine))
    mine, victim = [await stage.start(graph, {"text": "x"}) for _ in range(2)]
    wait, _ = [await waiting(handle.id, stage, "approval") for handle in (mine, victim)]
    await victim.terminate()
    rows = await stage.sql("select agent, id from contexts where run = %(run)s", run=victim.id)
    contexts = {row["agent"]: json.dumps(row["id"]) for row in rows}
    mail: dict[str, Json] = {"to": "a@example.org", "subject": "x", "text": "x"}
    calls = [
        Call("model", "llm", "audited#1.1", given("llm", "audited", turn=1, values={"text": "x"}), contexts["speaker"]),
        Call("tool", "tool", "post#1", given("tool", "post", tool="send_email", values=mail), contexts[""]),
    ]
    mails = [path for path in stage.world.maildir.rglob("*") if path.is_file()]

    await stage.sql(f"revoke execute on {APPEND} from vertebra_gate")
    try:
        async with intruding(stage) as intruder:
            blocked = await make(intruder, victim.id, calls)
            await stage.decide(wait["ref"], "approve")
            await asyncio.sleep(1)
            sold = (len(stage.bought(mine.id)), len(stage.bought(victim.id)))
            sent = [path for path in stage.world.maildir.rglob("*") if path.is_file()]
    finally:
        await stage.sql(f"grant execute on {APPEND} to vertebra_gate")

    assert ["StoreError", "StoreError"] == [one.failure for one in blocked]
    assert (0, 0) == sold
    assert mails == sent
    async with intruding(stage) as intruder:
        assert [None, None] == [one.failure for one in await make(intruder, victim.id, calls)]
    output, row = await ended(mine, stage)
    assert {"said": "hello"} == output
    assert [1, 1] == [len(stage.bought(run)) for run in (mine.id, victim.id)]
    assert 2 == len([path for path in stage.world.maildir.rglob("*") if path.is_file()]) - len(mails)
    assert (0, 0) == (row["held_microusd"], row["held_tokens"])
