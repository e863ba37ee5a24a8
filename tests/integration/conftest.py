"""One stage for all tests of whole runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.vendors.wire_server import WireServer
from tests.ground import Servers
from tests.shop import Shop, open_shop
from tests.stage import Stage, staged
from tests.stores import Migrated
from vertebra.providers import anthropic, openai
from vertebra.providers.registry import DEFAULT_MODELS
from vertebra.schemas.canonical import Json
from vertebra.schemas.money import Price


@pytest.fixture(scope="session")
async def model_server() -> AsyncIterator[WireServer]:
    """The only address of real vendors that the stage may ask: with a key each, and under `/keyless` without."""
    server = WireServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def shop() -> AsyncIterator[Shop]:
    """The one host that the stage's worker may send requests to."""
    async with open_shop() as opened:
        yield opened


@pytest.fixture(scope="session")
async def stage(
    services: Servers,
    migrated: Migrated,
    model_server: WireServer,
    shop: Shop,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stage]:
    """A worker on the session's servers, with the customer-support graph published."""
    replies: dict[str, Json] = {name: [{"reply": f"{name} said"}] for name in ("one", "two", "three", "after")}
    replies |= {f"n{number:03}": [{"reply": "done"}] for number in range(200)}
    replies["long"] = [{"reply": "x" * 100_000}]
    replies["broken"] = [{"fail": {"kind": "server"}}]
    replies["flaky"] = [{"fail": {"kind": "server", "times": 1}, "reply": "flaky said"}]
    replies["soon"] = [{"reply": "soon said", "delay": "800ms"}]
    replies["slow"] = [{"reply": "slow said", "delay": "20s"}]
    endpoints = {
        model_server.url: anthropic.SECRET,
        f"{model_server.url}/v1": openai.SECRET,
        f"{model_server.url}/keyless/v1": None,
    }
    prices = [
        *(
            Price(provider=name, model=model, input=1_000_000, output=1_000_000)
            for name, model in DEFAULT_MODELS.items()
        ),
        Price(provider="openai", model="of-my-own", input=0, output=0),
    ]
    async with staged(
        services,
        migrated,
        tmp_path_factory.mktemp("stage"),
        replies=replies,
        endpoints=endpoints,
        prices=prices,
        change=shop.reachable,
    ) as made:
        await made.publish(made.support)
        yield made
