"""Commands that no operator gave this very run: it waits on as if nothing had come, and what came is on record."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from tests.attacks.forging import Forgery, forge_command, told
from tests.attacks.graphs import published, text_of
from tests.attacks.vendor import Vendor, says
from tests.integration.runs.waits import ended, row_of, waiting
from tests.stage import TEMPLATE, Stage
from vertebra.policies.signature import SigningKey
from vertebra.schemas.signed import instant

pytestmark = [pytest.mark.attack, pytest.mark.server]

TICKETS = (TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()


async def counted(run: str, stage: Stage, operation: str, number: int) -> list[str]:
    """What is on record of this operation, once there is so much."""
    for _ in range(1200):
        entries = await told(run, operation, stage)
        if len(entries) >= number:
            break
        await asyncio.sleep(0.05)
    return [str(entry["error"]) for entry in entries]


async def test_no_forged_command_is_obeyed(stage: Stage) -> None:
    """Aborts, skips, top-ups and renewals that are not an operator's own word to this run change nothing of it."""
    await stage.enroll("gone", "operator")
    await stage.sql("update people set revoked_at = now() where name = 'gone'")
    stage.keys["stranger"] = SigningKey(secrets.token_bytes(32))
    handle = await stage.start(stage.support, json.loads(TICKETS[8]))
    run = handle.id
    await waiting(run, stage, "top_up")
    before = await row_of(run, stage)
    ada = stage.keys["ada"].id
    past, future = (instant(datetime.now(UTC) + timedelta(hours=hours)) for hours in (-1, 1))
    much = b'{"microusd": 0, "tokens": 1000000}'
    send = {"node": "send", "visit": 1}
    tried: list[tuple[str, Forgery]] = [
        ("abort", Forgery("an abort by somebody without a role", by="mallory")),
        ("cancel", Forgery("a cancel by the backup of an approval", by="bo")),
        ("abort", Forgery("in an operator's name", by="mallory", says={"person": "ada"})),
        ("abort", Forgery("under an operator's key", by="mallory", says={"person": "ada", "key": ada})),
        ("abort", Forgery("by an unknown key", by="stranger", says={"person": "ada"})),
        ("abort", Forgery("by the service", by="svc-support")),
        ("abort", Forgery("by somebody who was revoked", by="gone")),
        ("abort", Forgery("for another run", says={"run": "another"})),
        ("abort", Forgery("for no run", says={"run": None})),
        ("abort", Forgery("for another epoch", says={"epoch": 1})),
        ("abort", Forgery("another verb was signed", says={"verb": "retry"}, columns={"verb": "abort"})),
        ("abort", Forgery("no verb was signed", says={"verb": None}, columns={"verb": "abort"})),
        ("abort", Forgery("another command was signed", says={"id": "c1"})),
        ("abort", Forgery("a decision was signed", says={"kind": "decision"})),
        ("abort", Forgery("a start was signed", says={"kind": "start"})),
        ("abort", Forgery("expired", says={"expires_at": past})),
        ("abort", Forgery("from the future", says={"at": future})),
        ("abort", Forgery("in another's column", columns={"person": "bo"})),
        ("abort", Forgery("another reason", says={"reason": "a"}, columns={"reason": "b"})),
        ("abort", Forgery("another nonce", columns={"nonce": secrets.token_hex(8)})),
        ("abort", Forgery("no signature", signature=b"")),
        ("abort", Forgery("no statement", statement=b"null")),
        ("skip", Forgery("another node was signed", says={"node": "draft", "visit": 1}, columns=dict(send))),
        ("skip", Forgery("another visit was signed", says={"node": "send", "visit": 2}, columns=dict(send))),
        ("override", Forgery("the result was swapped", says=dict(send), arguments=b"{}", columns={"arguments": b"[]"})),
        ("top_up", Forgery("by somebody without a role", by="mallory", arguments=much)),
        ("top_up", Forgery("for another run, with money", says={"run": "another"}, arguments=much)),
        ("top_up", Forgery("the amount was swapped", arguments=b'{"microusd": 1}', columns={"arguments": much})),
        ("top_up", Forgery("no number", arguments=b"{")),
        ("top_up", Forgery("too large a number", arguments=b'{"tokens": 1' + b"0" * 30 + b"}")),
        ("top_up", Forgery("an endless number", arguments=b'{"tokens": 1e999}')),
        ("top_up", Forgery("50,000 levels", arguments=b"[" * 50_000)),
        ("renew", Forgery("for ever", arguments=b'{"seconds": 9007199254740991}')),
        ("renew", Forgery("by somebody without a role, with time", by="mallory", arguments=b'{"seconds": 60}')),
    ]
    for verb, forgery in tried:
        await forge_command(stage, run, verb, forgery)

    await stage.wake(run)
    reasons = await counted(run, stage, "command_refused", len(tried))
    after = await row_of(run, stage)

    assert len(tried) == len(reasons), reasons
    same = ("state", "limit_microusd", "limit_tokens", "spent_microusd", "spent_tokens", "epoch", "ended_at")
    assert [before[name] for name in same] == [after[name] for name in same]
    assert [] == await stage.sql(
        "select 1 from renewals r join contexts c on c.id = r.context where c.run = %(r)s", r=run
    )


async def test_amounts_that_are_none_add_nothing(stage: Stage) -> None:
    """Negative, broken and untrue numbers of an operator's own top-up raise no limit and bring no run to a stop."""
    handle = await stage.start(stage.support, json.loads(TICKETS[8]))
    await waiting(handle.id, stage, "top_up")
    bad = [
        b'{"tokens": -5000}',
        b'{"tokens": 1.5}',
        b'{"tokens": true}',
        b'{"tokens": "9"}',
        b"[]",
        b"7",
        b'{"usd": 5}',
    ]
    for arguments in bad:
        await forge_command(stage, handle.id, "top_up", Forgery("odd", arguments=arguments))

    await stage.wake(handle.id)
    await counted(handle.id, stage, "command_top_up", len(bad))
    row = await row_of(handle.id, stage)

    assert (500_000, 60_000, None) == (row["limit_microusd"], row["limit_tokens"], row["ended_at"])
    assert await waiting(handle.id, stage, "top_up")


async def test_a_top_up_adds_once_however_often_it_is_read(stage: Stage) -> None:
    """Wakes, repeated looks and a second look at the same row raise the limit by one amount."""
    handle = await stage.start(stage.support, json.loads(TICKETS[8]))
    await waiting(handle.id, stage, "top_up")

    await stage.command(handle.id, "top_up", arguments={"microusd": 0, "tokens": 40_000})
    await asyncio.gather(*(stage.wake(handle.id) for _ in range(20)))
    _, row = await ended(handle, stage)

    assert 100_000 == row["limit_tokens"]
    assert 1 == len(await told(handle.id, "command_top_up", stage))


async def test_a_retry_acts_once(stage: Stage, vendor: Vendor) -> None:
    """Two retries in one click buy one more reply, and a retry of another node none."""
    vendor.turned["one"] = says("[]")
    nodes = "  one: {agent: sorter, input: {ticket: input.text}, write: {said: summary}}\n"
    sorter = "  sorter: {type: llm, model: {provider: scripted, model: small}, prompt: classify@1}\n"
    graph = await published(stage, text_of("clicks", nodes, agents=sorter))
    handle = await stage.start(graph, {"text": "x"})
    await waiting(handle.id, stage, "blocked")
    vendor.turned["one"] = says('{"kind": "other", "urgency": "low", "summary": "fine"}')

    await stage.command(handle.id, "retry", "two", 1)
    await stage.command(handle.id, "retry", "one", 2)
    await asyncio.gather(*(stage.command(handle.id, "retry", "one", 1) for _ in range(2)))
    output, row = await ended(handle, stage)

    assert {"said": "fine"} == output
    assert 2 == len(stage.bought(handle.id))
    assert (0, 0) == (row["held_microusd"], row["held_tokens"])


async def test_an_abort_of_another_life_is_not_obeyed(stage: Stage) -> None:
    """A command counts for the epoch it was signed in: after a resumption the old abort is history."""
    handle = await stage.start(stage.support, json.loads(TICKETS[3]))
    wait = await waiting(handle.id, stage, "approval")
    await stage.sql("update runs set epoch = 1 where id = %(id)s", id=handle.id)
    await forge_command(stage, handle.id, "abort", Forgery("of the first life"))

    await stage.decide(wait["ref"], "approve")
    output, row = await ended(handle, stage)

    assert "answered" == output["status"]
    assert "completed" == row["state"]
