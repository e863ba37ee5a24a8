"""A whole vertebra with a database of its own for each file of attacks on runs, and a vendor that may be turned."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from temporalio.service import RPCError

from tests.attacks.vendor import Vendor
from tests.ground import Servers, new_namespace
from tests.stage import Stage, staged
from tests.stores import PASSWORDS, Migrated
from vertebra.providers import anthropic, openai
from vertebra.providers.exchange import VendorProvider
from vertebra.providers.protocol import Provider
from vertebra.providers.registry import DEFAULT_MODELS, Providers
from vertebra.schemas.money import Price, PriceTable
from vertebra.services import postgres
from vertebra.store.migrate import migrate
from vertebra.workers.build import working

PRICES = tuple(
    Price(provider=provider, model=model, input=1_000_000, output=1_000_000)
    for provider, model in DEFAULT_MODELS.items()
)
"""The operator's, for the models of real vendors at an address that no price list knows."""


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    """The model vendor of the stage: scripted, except at the nodes that a test turns."""
    return Vendor()


@pytest.fixture(scope="module")
async def echo() -> AsyncIterator[str]:
    """The address of a server that refuses every request and says everything back that it was told."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        keys_first = "\n".join(sorted(heard.splitlines(), key=lambda line: "sk-canary" not in line))
        error = {"type": "error", "error": {"type": "authentication_error", "message": keys_first}}
        body = json.dumps(error).encode()
        head = f"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(scope="session")
async def namespace(services: Servers) -> str:
    """Where no worker of other tests is."""
    return await new_namespace(services.temporal_address, "attacked")


@pytest.fixture(scope="module")
async def stage(
    services: Servers, namespace: str, vendor: Vendor, echo: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A worker with the customer-support graph published, in an empty database."""
    name = f"attack_{secrets.token_hex(6)}"
    await postgres.create_database(services.postgres_dsn, name)
    dsn = urlsplit(services.postgres_dsn)._replace(path=f"/{name}").geturl()
    await asyncio.to_thread(migrate, dsn, PASSWORDS)
    folder = tmp_path_factory.mktemp("attacked")
    async with staged(services, Migrated(dsn), folder, work=False, namespace=namespace) as made:
        vendor.serve(made.world.providers.get("scripted"), made.sales)
        real: list[Provider] = [VendorProvider(one, {echo: one.secret}) for one in (anthropic.VENDOR, openai.VENDOR)]
        prices = PriceTable(prices=(*made.world.prices.prices, *PRICES))
        made.world = dataclasses.replace(made.world, providers=Providers([vendor, *real]), prices=prices)
        try:
            async with working(made.client, made.world):
                await made.publish(made.support)
                yield made
                await _leave_nothing(made)
        finally:
            await made.world.providers.aclose()


async def _leave_nothing(stage: Stage) -> None:
    """End what is still parked: another file's worker shares the queue, and has another database."""
    for row in await stage.sql("select id from runs where ended_at is null"):
        with contextlib.suppress(RPCError):
            await stage.client.get_workflow_handle(row["id"]).terminate("the attack is over")
