"""One plant for all fault tests."""

from __future__ import annotations

import asyncio
import gc
import secrets
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from tests.faults.plant import Plant, options
from tests.stage import staged
from tests.stores import PASSWORDS, Migrated
from vertebra.schemas.canonical import Json
from vertebra.services.supervisor import Supervisor
from vertebra.store.migrate import migrate

REPLIES: dict[str, Json] = {
    "one": [{"reply": "one said"}],
    "two": [{"reply": "two said"}],
    "slow": [{"reply": "slow said", "delay": "3s"}],
    "three": [{"reply": "three said", "delay": "600ms"}],
    "broken": [{"fail": {"kind": "server"}}],
}
"""Of nodes that only these tests know."""


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes the counts of a test: they are printed, and kept with its result."""

    def tell(text: str) -> None:
        sys.stdout.write(f"\n{text}\n")
        record_property("counts", text)

    return tell


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """What chance starts from: `--seed N`, else new each time. Tests report it, so that a failure can be repeated."""
    given: int | None = request.config.getoption("--seed")
    return secrets.randbits(32) if given is None else given


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """How often each service is killed."""
    given: int = request.config.getoption("--kills")
    return given


@pytest.fixture(scope="session")
async def plant(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    """Servers of their own, an empty database, no worker."""
    folder = tmp_path_factory.mktemp("plant")
    async with Supervisor(folder, options(), print) as supervisor:
        migrated = Migrated(supervisor.services.postgres_dsn)
        await asyncio.to_thread(migrate, migrated.superuser_dsn, PASSWORDS)
        async with staged(supervisor.services, migrated, folder, replies=REPLIES, work=False) as stage:
            await stage.publish(stage.support)
            yield Plant(supervisor, migrated, stage, folder)
    gc.collect()  # else the process may abort at exit: an activity was in flight when its worker stopped
