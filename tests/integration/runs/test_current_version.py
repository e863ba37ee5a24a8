"""Which version a start takes is decided by who signed last, and by nothing that a column says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowFailureError

from tests.integration.runs.waits import ended
from tests.stage import Stage
from vertebra.schemas.signed import instant
from vertebra.store.transaction import Query, once

pytestmark = pytest.mark.server

SAYS = """
graph: rolled
version: {version}
input: {{text: {{type: string, required: true}}}}
output: {{said: {{type: string, from: input.text}}}}
spine: {{principal: svc-support, expires_in: 1h, budget: {{usd: 1.00, tokens: 1000000, on_breach: reject}}}}
nodes:
  one: {{type: rules, default: {{}}}}
"""
AGAIN = (
    "update graphs set published_by = %(person)s, key = %(key)s, nonce = %(nonce)s, statement = %(statement)s,"
    " signature = %(signature)s where name = 'rolled' and version = '1.0.0'"
)


async def test_an_old_signature_makes_no_version_current_again(stage: Stage) -> None:
    """What was signed an hour ago, written into the older version's row, rolls nothing back: starts are refused."""
    old, new = (stage.compile(SAYS.format(version=version)) for version in ("1.0.0", "1.1.0"))
    await stage.publish(old)
    await stage.publish(new)
    _, run = await ended(await stage.start_raw("rolled", "rolled-1", {"text": "x"}), stage)
    assert "1.1.0" == run["version"]

    then = instant(datetime.now(UTC) - timedelta(hours=1))
    replayed = stage.statement("publish", "ada", id="rolled@1.0.0", digest=old.digest, at=then)
    await once(stage.api, [Query("replay", AGAIN, stage.signed(replayed, "ada"))])
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for((await stage.start_raw("rolled", "rolled-2", {"text": "x"})).result(), 90)
    assert "made current without a new signature" in str(failure.value.cause)

    signed = stage.statement("publish", "ada", id="rolled@1.0.0", digest=old.digest)
    await once(stage.api, [Query("again", AGAIN, stage.signed(signed, "ada"))])
    _, run = await ended(await stage.start_raw("rolled", "rolled-3", {"text": "x"}), stage)
    assert "1.0.0" == run["version"]
