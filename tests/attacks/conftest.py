"""A whole vertebra with a database of its own for each file of attacks on runs, and a vendor that may be turned."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from temporalio.service import RPCError

from tests.attacks.vendor import Vendor
from tests.stage import Stage, staged
from tests.stores import PASSWORDS, Migrated
from vertebra.providers.anthropic import AnthropicProvider
from vertebra.providers.registry import Providers
from vertebra.services import postgres
from vertebra.services.state import Services
from vertebra.store.migrate import migrate
from vertebra.workers.build import working


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    """The model vendor of the stage: scripted, except at the nodes that a test turns."""
    return Vendor()


@pytest.fixture(scope="module")
async def stage(services: Services, vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A worker with the customer-support graph published, in an empty database."""
    name = f"attack_{secrets.token_hex(6)}"
    await postgres.create_database(services.postgres_dsn, name)
    dsn = urlsplit(services.postgres_dsn)._replace(path=f"/{name}").geturl()
    await asyncio.to_thread(migrate, dsn, PASSWORDS)
    async with staged(services, Migrated(dsn), tmp_path_factory.mktemp("attacked"), work=False) as made:
        vendor.serve(made.world.providers.get("scripted"), made.sales)
        made.world = dataclasses.replace(made.world, providers=Providers([vendor, AnthropicProvider(frozenset())]))
        async with working(made.client, made.world):
            await made.publish(made.support)
            yield made
            await _leave_nothing(made)


async def _leave_nothing(stage: Stage) -> None:
    """End what is still parked: another file's worker shares the queue, and has another database."""
    for row in await stage.sql("select id from runs where ended_at is null"):
        with contextlib.suppress(RPCError):
            await stage.client.get_workflow_handle(row["id"]).terminate("the attack is over")
