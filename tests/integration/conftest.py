"""One stage for all tests of whole runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.stage import Stage, staged
from tests.stores import Migrated
from vertebra.schemas.canonical import Json
from vertebra.services.state import Services


@pytest.fixture(scope="session")
async def stage(
    services: Services, migrated: Migrated, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A worker on the session's servers, with the customer-support graph published."""
    replies: dict[str, Json] = {name: [{"reply": f"{name} said"}] for name in ("one", "two", "three", "after")}
    replies |= {f"n{number:03}": [{"reply": "done"}] for number in range(200)}
    replies["long"] = [{"reply": "x" * 100_000}]
    replies["broken"] = [{"fail": {"kind": "server"}}]
    replies["flaky"] = [{"fail": {"kind": "server", "times": 1}, "reply": "flaky said"}]
    replies["slow"] = [{"reply": "slow said", "delay": "20s"}]
    async with staged(services, migrated, tmp_path_factory.mktemp("stage"), replies=replies) as made:
        await made.publish(made.support)
        yield made
