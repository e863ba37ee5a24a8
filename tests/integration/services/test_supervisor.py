"""The supervisor with the real Postgres and Temporal."""

from __future__ import annotations

import psycopg
import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from vertebra.services import temporal
from vertebra.services.state import Services

pytestmark = pytest.mark.server


async def test_postgres_answers_at_both_addresses(services: Services) -> None:
    """The database `vertebra` is there by TCP and by Unix socket."""
    for dsn in (services.postgres_dsn, services.postgres_socket_dsn):
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            row = await (await connection.execute("select current_database(), current_setting('fsync')")).fetchone()

        assert row == ("vertebra", "on")


async def test_postgres_wants_a_password(services: Services) -> None:
    """Nobody gets in without the password, not even by the Unix socket."""
    for dsn in (services.postgres_dsn, services.postgres_socket_dsn):
        password = dsn.split("://postgres:")[1].split("@")[0]

        with pytest.raises(psycopg.OperationalError, match="password"):
            await psycopg.AsyncConnection.connect(dsn.replace(password, "wrong"))


async def test_the_search_attributes_are_registered(services: Services) -> None:
    """A run may set every search attribute as soon as the server is up."""
    client = await Client.connect(services.temporal_address)

    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))

    assert set(temporal.SEARCH_ATTRIBUTES) <= set(known.custom_attributes)


async def test_a_database_of_its_own(database: str) -> None:
    """A test may have an empty database that nobody else sees."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        row = await (await connection.execute("select count(*) from pg_tables where schemaname = 'public'")).fetchone()

    assert row == (0,)
