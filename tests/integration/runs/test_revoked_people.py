"""Somebody who was revoked has no run that goes on for them."""

from __future__ import annotations

import pytest

from tests.integration.runs.waits import waiting
from tests.stage import Stage
from vertebra.schemas.call import CallError

pytestmark = pytest.mark.server

ASKS = """
graph: leaver
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-leaver, expires_in: 1h, budget: {usd: 1.00, tokens: 1000000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  ask: {type: human, show: {text: input.text}, assign: [support_lead]}
  one: {agent: speaker, input: {text: input.text}, write: {said: text}}
edges:
  - ask -> one
"""


async def test_a_run_of_somebody_who_was_revoked_has_no_more_effects(stage: Stage) -> None:
    """The owner's `people revoke` is read at each effect, like a signed revocation."""
    await stage.enroll("svc-leaver", "starter", service=True)
    graph = stage.compile(ASKS)
    await stage.publish(graph)
    handle = await stage.start_raw("leaver", "leaver-1", {"text": "x"})
    wait = await waiting(handle.id, stage, "approval")

    await stage.sql("update people set revoked_at = now() where name = 'svc-leaver'")
    await stage.decide(wait["ref"], "approve")
    blocked = await waiting(handle.id, stage, "blocked")

    assert "Revoked" == CallError.model_validate_json(bytes(blocked["error"])).type
    assert [] == stage.bought(handle.id)
    await stage.command(handle.id, "abort")
