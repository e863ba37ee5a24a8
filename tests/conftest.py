"""What every test may ask for: a clean environment, and one Postgres and one Temporal for the whole session."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis
from temporalio.service import RPCError, RPCStatusCode, _BridgeServiceClient

from tests.ground import Given, Servers, given
from tests.stores import PASSWORDS, Migrated
from vertebra.schemas.errors import ServiceFailed, SettingsError
from vertebra.services import postgres, temporal_cli
from vertebra.services.options import ServiceOptions
from vertebra.services.supervisor import Supervisor
from vertebra.store.migrate import migrate
from vertebra.store.pool import Pool, new_pool

_KEPT = "VERTEBRA_TEMPORAL_CLI"
_CUT = ((RPCStatusCode.CANCELLED, "operation was canceled"), (RPCStatusCode.UNKNOWN, "transport error"))
_PAUSES_S = (0.1, 0.3, 1.0)
_GIVEN = pytest.StashKey[Given | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the tests of faults can be told."""
    parser.addoption("--seed", type=int, help="repeat the random moments of an earlier run of the fault tests")
    parser.addoption("--kills", type=int, default=20, help="how often each service is killed (20)")
    parser.addoption("--soak", type=int, default=500, help="how many runs are soaked (500)")
    parser.addoption("--flat", type=int, default=2000, help="over how many runs a worker must stay flat (2000)")
    parser.addoption(
        "--table", type=Path, default=Path(".endurance/soak.md"), help="where the soak's counts are written"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read which servers are given before a test's environment is cleaned.

    Whoever was started in the background of a script ignores Ctrl-C, and so would every process that a test interrupts.
    A machine may stop for seconds in the middle of any example: none has a time limit of its own.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    patient = {"deadline": None, "suppress_health_check": (HealthCheck.too_slow,)}
    hypothesis.register_profile("patient", hypothesis(), **patient)
    hypothesis.load_profile("patient")
    try:
        config.stash[_GIVEN] = given(os.environ)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the Temporal server at hand before the first test: to build it takes longer than a test may."""
    needed = any(item.get_closest_marker("server") for item in session.items)
    if session.config.option.collectonly or session.config.stash[_GIVEN] or not needed:
        return
    told = session.config.get_terminal_writer()
    try:
        asyncio.run(temporal_cli.find_or_make(ServiceOptions.from_environ(os.environ), told.line))
    except (SettingsError, ServiceFailed) as error:
        told.line(f"without a Temporal server most tests will fail: {error}")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the machine reaches a test, except where its `temporal` binary is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("VERTEBRA_") and name != _KEPT]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def cut_connections() -> Iterator[None]:
    """A connection that is closed under a call of the test's own client is renewed and the same request sent again.

    The library repeats what it calls unavailable, and not this, or not long; the server takes a request id once. A
    worker's calls are made below this, and a server that is gone is told as before.
    """
    once = _BridgeServiceClient._rpc_call

    async def patient(self: _BridgeServiceClient, *given: Any, **named: Any) -> Any:
        for pause_s in _PAUSES_S:
            try:
                return await once(self, *given, **named)
            except RPCError as error:
                if (error.status, error.message) not in _CUT:
                    raise
            await asyncio.sleep(pause_s)
        return await once(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_BridgeServiceClient, "_rpc_call", patient)
        yield


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """A command that was run inside the test's process leaves its own kind of logs behind, or none at all."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
async def supervisor(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    """The supervisor of the session, in an empty folder. The binary comes from the user's cache, which stays warm."""
    folder = tmp_path_factory.mktemp("services")
    options = replace(ServiceOptions.from_environ(os.environ), usual_ports=False)
    async with Supervisor(folder, options, print) as running:
        yield running
    gc.collect()  # else the process may abort at exit: an activity was in flight when its worker stopped


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Servers:
    """The session's Postgres and Temporal: those that the environment gives, else the supervisor's."""
    external = request.config.stash[_GIVEN]
    if external is not None:
        return external
    supervisor: Supervisor = request.getfixturevalue("supervisor")
    return supervisor.services


@pytest.fixture
async def database(services: Servers) -> AsyncIterator[str]:
    """The superuser's DSN of an empty database of the test's own."""
    name = f"test_{secrets.token_hex(6)}"
    await postgres.create_database(services.postgres_dsn, name)
    yield urlsplit(services.postgres_dsn)._replace(path=f"/{name}").geturl()
    connection = await psycopg.AsyncConnection.connect(services.postgres_dsn, autocommit=True)
    async with connection:
        await connection.execute(psycopg.sql.SQL("drop database {} with (force)").format(psycopg.sql.Identifier(name)))


@pytest.fixture(scope="session")
async def migrated(services: Servers) -> Migrated:
    """One database with this release's schema, for tests that share it by runs of their own."""
    name = f"store_{secrets.token_hex(6)}"
    await postgres.create_database(services.postgres_dsn, name)
    dsn = urlsplit(services.postgres_dsn)._replace(path=f"/{name}").geturl()
    await asyncio.to_thread(migrate, dsn, PASSWORDS)
    return Migrated(dsn)


@pytest.fixture(scope="session")
async def gate(migrated: Migrated) -> AsyncIterator[Pool]:
    """A pool with the rights of a gate worker."""
    async with new_pool(migrated.dsn("vertebra_gate"), max_size=16) as pool:
        yield pool
