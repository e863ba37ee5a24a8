"""Runs that must go on in a new execution, on a worker that is started and stopped by the test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.ground import Servers, new_namespace
from tests.integration.runs.test_shell import published
from tests.integration.runs.waits import ended, waiting
from tests.integration.workers.desk import until
from tests.stage import staged
from tests.stores import PASSWORDS, Migrated
from vertebra.store.migrate import migrate
from vertebra.workers.build import working

pytestmark = pytest.mark.server

ASKS = """
nodes:
  ask: {type: human, show: {text: input.text}, assign: [support_lead]}
  copy: {type: rules, default: {text: input.text}, write: {said: text}}
edges:
  - ask -> copy
"""


async def test_a_run_continues_as_new_after_signals_that_waited_for_a_worker(
    services: Servers, database: str, tmp_path: Path
) -> None:
    """The parked run, which hears all of them in one task, goes on as new when its look is over, and not ever later."""
    await asyncio.to_thread(migrate, database, PASSWORDS)
    namespace = await new_namespace(services.temporal_address, "continued")
    async with staged(services, Migrated(database), tmp_path, work=False, namespace=namespace) as stage:
        graph = await published(stage, "signalled", ASKS)
        async with working(stage.client, stage.world):
            handle = await stage.start(graph, {"text": "x"})
            wait = await waiting(handle.id, stage, "approval")
        for _ in range(21):
            await asyncio.gather(*(handle.signal("anything", "at all") for _ in range(100)))
        newest = stage.client.get_workflow_handle(handle.id)

        async def continues() -> bool:
            return (await newest.describe()).run_id != handle.first_execution_run_id

        async with working(stage.client, stage.world):
            await until(continues)
            await stage.decide(wait["ref"], "approve")
            output, run = await ended(newest, stage)

    assert ({"said": "x"}, "completed") == (output, run["state"])
