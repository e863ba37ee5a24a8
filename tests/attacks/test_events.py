"""Events that nobody who may sent: a run that waits for one waits on, and what came is on record."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from temporalio.client import WorkflowFailureError

from tests.attacks.forging import Forgery, flood, forge_command, told
from tests.attacks.graphs import published, text_of
from tests.attacks.test_commands import counted
from tests.integration.runs.waits import ended, row_of, waiting
from tests.stage import Stage
from vertebra.client.commands import Order, command
from vertebra.client.signing import Signer
from vertebra.policies.signature import SigningKey
from vertebra.schemas.errors import TooManyEvents
from vertebra.schemas.run import MAX_EVENTS, MAX_EVENTS_BYTES

pytestmark = [pytest.mark.attack, pytest.mark.server]

HEARS = "  hear: {type: wait, event: paid, form: {amount: {type: integer, required: true}}, write: {said: sent_by}}\n"
ELSE = b'{"event": "else", "payload": {}}'
LARGE = ELSE.replace(b" {}", b" " * 60_000 + b"{}")
PAID = b'{"event": "paid", "payload": {"amount": 1}}'


async def test_no_forged_event_ends_a_wait(stage: Stage) -> None:
    """Signals with the event's name, and rows that were not signed for this run by a sender, change nothing."""
    stage.keys["stranger"] = SigningKey(secrets.token_bytes(32))
    handle = await stage.start(await published(stage, text_of("hears", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")
    tried = [
        Forgery("by somebody without a role", by="mallory", arguments=PAID),
        Forgery("in a sender's name", by="mallory", says={"person": "ada"}, arguments=PAID),
        Forgery("by an unknown key", by="stranger", says={"person": "ada"}, arguments=PAID),
        Forgery("for another run", says={"run": "another"}, arguments=PAID),
        Forgery("another verb was signed", says={"verb": "cancel"}, columns={"verb": "event"}, arguments=PAID),
        Forgery("the payload was swapped", arguments=b'{"event": "other"}', columns={"arguments": PAID}),
        Forgery("no signature", signature=b"", arguments=PAID),
    ]
    for forgery in tried:
        await forge_command(stage, handle.id, "event", forgery)
    for name in ("paid", "event", "wake"):
        await handle.signal(name, {"event": "paid", "payload": {"amount": 1}})
    large = Forgery("too large for history", arguments=PAID.replace(b", ", b"," + b" " * 70_000, 1))
    await forge_command(stage, handle.id, "event", large)
    reasons = await counted(handle.id, stage, "command_refused", len(tried))

    assert len(tried) == len(reasons), reasons
    assert None is (await row_of(handle.id, stage))["ended_at"]
    assert [] == await told(handle.id, "event_taken", stage)

    await stage.command(handle.id, "event", arguments={"event": "paid", "payload": {"amount": 2}})
    output, _ = await ended(handle, stage)
    assert 1 == len(await told(handle.id, "event_refused", stage))
    assert {"said": "ada"} == output


@pytest.mark.parametrize(
    ("number", "arguments", "read"),
    [
        (20 * MAX_EVENTS, ELSE, MAX_EVENTS),
        (300, LARGE, MAX_EVENTS_BYTES // len(LARGE) + 1),
    ],
)
async def test_a_flood_of_events_keeps_no_run_from_its_orders(
    stage: Stage, number: int, arguments: bytes, read: int
) -> None:
    """However many or large the events that a sender signs, a look reads so many, and an abort is obeyed."""
    handle = await stage.start(await published(stage, text_of("floods", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")

    await flood(stage, handle.id, Forgery("genuine", arguments=arguments), number)
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)

    assert "aborted" == (await row_of(handle.id, stage))["state"]
    looks = await events_by_look(handle.id, stage)
    assert read == max(looks)
    assert sum(looks) == len(await told(handle.id, "command_event", stage)) < number


async def events_by_look(run: str, stage: Stage) -> list[int]:
    """How many events each look has read: most often there is one look, which reads the abort too."""
    rows = await stage.sql(
        "select count(*) as number from commands where run = %(run)s and verb = 'event' and consumed_at is not null"
        " group by consumed_at",
        run=run,
    )
    return [row["number"] for row in rows]


async def test_forged_events_take_no_true_ones_place(stage: Stage) -> None:
    """What is refused is put aside for good: the true event behind more than a look reads is taken all the same."""
    handle = await stage.start(await published(stage, text_of("aside", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")

    await flood(stage, handle.id, Forgery("no signature", signature=b"", arguments=PAID), MAX_EVENTS + 1)
    await stage.command(handle.id, "event", arguments={"event": "paid", "payload": {"amount": 2}})
    output, _ = await ended(handle, stage)

    assert MAX_EVENTS + 1 == len(await told(handle.id, "command_refused", stage))
    assert {"said": "ada"} == output


async def test_events_that_nobody_waits_for_take_no_true_ones_place(stage: Stage) -> None:
    """A genuine sender fills a run with what no node of it will take: at its next look it has room again."""
    handle = await stage.start(await published(stage, text_of("idle", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")

    await flood(stage, handle.id, Forgery("genuine", arguments=ELSE), MAX_EVENTS)
    await stage.wake(handle.id)
    refused = await counted(handle.id, stage, "event_refused", 1)
    await stage.command(handle.id, "event", arguments={"event": "paid", "payload": {"amount": 2}})
    output, _ = await ended(handle, stage)

    assert [f"{MAX_EVENTS} events that no node of the graph waits for"] == refused
    assert {"said": "ada"} == output
    left = await stage.sql("select id from commands where run = %(run)s and applied_at is null", run=handle.id)
    assert [] == left


@pytest.mark.parametrize(("number", "arguments"), [(MAX_EVENTS, ELSE), (MAX_EVENTS_BYTES // len(LARGE) + 1, LARGE)])
async def test_nobody_sends_more_than_a_run_may_hold(stage: Stage, number: int, arguments: bytes) -> None:
    """A genuine sender is refused with the number and what to do, and nothing is written; other orders are not."""
    handle = await stage.start(await published(stage, text_of("full", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")
    await flood(stage, handle.id, Forgery("genuine", arguments=arguments), number)
    signer = Signer("ada", stage.keys["ada"])

    async with stage.api.connection() as connection:
        with pytest.raises(TooManyEvents, match=f"holds {number} events .*vertebra show {handle.id}"):
            await command(connection, signer, handle.id, [Order("event", arguments={"event": "paid"})])
        await command(connection, signer, handle.id, [Order("cancel")])

    rows = await stage.sql("select verb from commands where run = %(run)s", run=handle.id)
    assert ["cancel", *["event"] * number] == sorted(row["verb"] for row in rows)
    await stage.wake(handle.id)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
