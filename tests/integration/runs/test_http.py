"""Requests of http nodes on the real servers: through the gate, once, on record, with their secrets nowhere."""

from __future__ import annotations

import json

import pytest
from temporalio.client import WorkflowFailureError

from tests.integration.runs.waits import ended, waiting
from tests.shop import CANARY, KEY, Shop
from tests.stage import Stage
from vertebra.schemas.canonical import Json

pytestmark = pytest.mark.server


def graph(shop: Shop, name: str, nodes: str, edges: str, **more: str) -> str:
    lines = [f"graph: {name}", "version: 1.0.0", "input: {order: {type: string, required: true}}"]
    lines += ["output: {total: {type: integer, from: ask.body.total}}"]
    lines += ["spine: {principal: svc-support, permissions: [execute_tools], expires_in: 1h}", "nodes:"]
    lines += [f"  {line}" for line in nodes.replace("HOST", f"shop.example:{shop.port}").splitlines()]
    return "\n".join([*lines, "edges:", *(f"  - {edge}" for edge in edges.split("; "))])


async def test_a_request_is_governed_and_its_secret_is_nowhere(stage: Stage, shop: Shop) -> None:
    """It is journalled and audited with the secret as a reference, though the host says the secret back."""
    text = graph(
        shop,
        "http-look",
        'ask: {type: http, address: "http://HOST/orders/{input.order}", '
        f'headers: {{Authorization: {{value: "Bearer {KEY}"}}}}}}',
        "ask -> end",
    )
    made = stage.compile(text)
    await stage.publish(made)

    handle = await stage.start(made, {"order": "a/b"})
    output, run = await ended(handle, stage)

    assert ("completed", {"total": 41}) == (run["state"], output)
    [asked] = [one for one in shop.asked if one.path.startswith("/orders")]
    assert ("/orders/a%2Fb", f"Bearer {CANARY}") == (asked.path, asked.headers["authorization"])
    entries = await stage.sql(
        "select convert_from(body, 'UTF8') as body from audit where stream = %(id)s order by seq", id=handle.id
    )
    told = [entry for row in entries if (entry := json.loads(row["body"]))["operation"] == "http_request"]
    assert ["intent", "outcome"] == [entry["phase"] for entry in told]
    assert KEY in told[0]["input"]["text"]
    rows = await stage.sql("select row_to_json(calls)::text as row from calls where run = %(id)s", id=handle.id)
    history = [event.SerializeToString() async for event in handle.fetch_history_events()]
    kept = [*(row["body"] for row in entries), *(row["row"] for row in rows), *map(repr, history)]
    assert [] == [text for text in kept if CANARY in text]


async def test_a_keyed_request_is_tried_again_under_its_key(stage: Stage, shop: Shop) -> None:
    """A host that fails once is asked again with the same key, and the run goes on."""
    text = graph(
        shop,
        "http-book",
        'ask: {type: http, method: POST, address: "http://HOST/broken", body: {order: input.order}, '
        "headers: {Idempotency-Key: {value: call}}, retry: {backoff: 100ms}}",
        "ask -> end",
    )
    made = stage.compile(text)
    await stage.publish(made)
    shop.broken = 1

    handle = await stage.start(made, {"order": "7"})
    _, run = await ended(handle, stage)

    asked = [one for one in shop.asked if one.path == "/broken"]
    [call] = await stage.sql("select id, status from calls where run = %(id)s", id=handle.id)
    assert ("completed", "done") == (run["state"], call["status"])
    assert [call["id"]] * 2 == [one.headers["idempotency-key"] for one in asked]


async def test_a_person_approves_and_edits_exactly_what_is_sent(stage: Stage, shop: Shop) -> None:
    """An irreversible request waits with its exact bytes; what a person writes instead is what leaves, once."""
    text = graph(
        shop,
        "http-wire",
        'ask: {type: http, method: POST, address: "http://HOST/wire", body: {order: input.order}, '
        "approval: {assign: [support_lead]}}",
        "ask -> end",
    )
    made = stage.compile(text)
    await stage.publish(made)
    handle = await stage.start(made, {"order": "7"})
    wait = await waiting(handle.id, stage, "approval")
    [approval] = await stage.sql("select request from approvals where id = %(id)s", id=wait["ref"])
    arguments: dict[str, Json] = json.loads(json.loads(bytes(approval["request"]))["arguments"])
    before = len(shop.asked)

    await stage.decide(wait["ref"], "edit", arguments=arguments | {"body": {"order": "8"}})
    _, run = await ended(handle, stage)

    assert "completed" == run["state"]
    [asked] = shop.asked[before:]
    assert {"order": "8"} == json.loads(asked.body)


async def test_a_host_that_the_operator_does_not_allow_blocks_the_node(stage: Stage, shop: Shop) -> None:
    """The graph may name what it likes: nothing leaves, the refusal is on record and says what to do."""
    made = stage.compile(graph(shop, "http-far", 'ask: {type: http, address: "http://10.0.0.1/"}', "ask -> end"))
    await stage.publish(made)

    handle = await stage.start(made, {"order": "7"})
    wait = await waiting(handle.id, stage, "blocked")

    error = json.loads(bytes(wait["error"]))
    assert ("EgressRefused", True) == (error["type"], "egress_hosts" in error["do"])
    assert [] == await stage.sql(
        "select 1 from attempts a join calls c on c.id = a.call where c.run = %(id)s", id=handle.id
    )
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
