"""One stage for all tests of whole runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.stage import Stage, staged
from tests.stores import Migrated
from vertebra.services.state import Services


@pytest.fixture(scope="session")
async def stage(
    services: Services, migrated: Migrated, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A worker on the session's servers, with the customer-support graph published."""
    async with staged(services, migrated, tmp_path_factory.mktemp("stage")) as made:
        await made.publish(made.support)
        yield made
