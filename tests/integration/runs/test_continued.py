"""Runs that must go on in a new execution, on a worker that is started and stopped by the test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from tests.ground import Servers, new_namespace
from tests.integration.runs.test_shell import published
from tests.integration.runs.waits import ended, looked, row_of, waiting
from tests.integration.workers.desk import until
from tests.stage import staged
from tests.stores import PASSWORDS, Migrated
from vertebra.store.migrate import migrate
from vertebra.workers.build import working
from vertebra.workflows import interpreter

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


async def test_a_cancel_beside_the_signals_that_have_the_run_continue_is_obeyed(
    services: Servers, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is told of the signals first: the cancel behind them is not left in the execution that it closes."""
    monkeypatch.setattr(interpreter, "SIGNALS_BEFORE_CONTINUING", 20)
    await asyncio.to_thread(migrate, database, PASSWORDS)
    namespace = await new_namespace(services.temporal_address, "continued")
    async with staged(services, Migrated(database), tmp_path, work=False, namespace=namespace) as stage:
        graph = await published(stage, "cancelled", ASKS)
        async with working(stage.client, stage.world):
            handle = await stage.start(graph, {"text": "x"})
            await waiting(handle.id, stage, "approval")
            await looked(handle.id, stage)
        newest = stage.client.get_workflow_handle(handle.id)
        await asyncio.gather(*(newest.signal("anything", "at all") for _ in range(30)))
        await newest.cancel()

        async with working(stage.client, stage.world):
            with pytest.raises(WorkflowFailureError) as failure:
                await asyncio.wait_for(newest.result(), 60)

        assert isinstance(failure.value.cause, CancelledError)
        assert "cancelled" == (await row_of(handle.id, stage))["state"]
