"""Events that nobody who may sent: a run that waits for one waits on, and what came is on record."""

from __future__ import annotations

import secrets

import pytest

from tests.attacks.forging import Forgery, forge_command, told
from tests.attacks.graphs import published, text_of
from tests.attacks.test_commands import counted
from tests.integration.runs.waits import ended, row_of, waiting
from tests.stage import Stage
from vertebra.policies.signature import SigningKey

pytestmark = [pytest.mark.attack, pytest.mark.server]

PAID = b'{"event": "paid", "payload": {"amount": 1}}'


async def test_no_forged_event_ends_a_wait(stage: Stage) -> None:
    """Signals with the event's name, and rows that were not signed for this run by a sender, change nothing."""
    stage.keys["stranger"] = SigningKey(secrets.token_bytes(32))
    node = (
        "  hear: {type: wait, event: paid, form: {amount: {type: integer, required: true}}, write: {said: sent_by}}\n"
    )
    handle = await stage.start(await published(stage, text_of("hears", node)), {"text": "x"})
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
