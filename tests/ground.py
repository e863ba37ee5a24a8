"""The Postgres and Temporal of a test session: the laptop's own, or those whose addresses the environment gives.

The names are not those of vertebra's settings: tests make and drop databases, and must never meet a production whose
addresses happen to be set.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from vertebra.client.connection import Address
from vertebra.client.temporal import register_attributes
from vertebra.schemas.errors import SettingsError, StoreError

TEMPORAL_ADDRESS = "VERTEBRA_TEST_TEMPORAL_ADDRESS"
NAMESPACE = "VERTEBRA_TEST_TEMPORAL_NAMESPACE"
DATABASE_URL = "VERTEBRA_TEST_DATABASE_URL"


class Servers(Protocol):
    """What tests need to know of them."""

    @property
    def temporal_address(self) -> str: ...

    @property
    def temporal_namespace(self) -> str: ...

    @property
    def postgres_dsn(self) -> str:
        """As a superuser."""


@dataclass(frozen=True)
class Given:
    """Servers that somebody else has started."""

    temporal_address: str
    temporal_namespace: str
    postgres_dsn: str


def given(environ: Mapping[str, str]) -> Given | None:
    """The servers that the environment names, all three or none. Raises SettingsError for a part of them."""
    found = {name: environ.get(name) for name in (TEMPORAL_ADDRESS, NAMESPACE, DATABASE_URL)}
    missing = [name for name, value in found.items() if not value]
    if len(missing) == len(found):
        return None
    if missing:
        raise SettingsError(
            f"{', '.join(missing)} is not set and others are", at="environment", do="set all three, or none"
        )
    return Given(*(value or "" for value in found.values()))


async def new_namespace(address: str, name: str) -> str:
    """Make a namespace, so that no worker of another stage takes the calls made in it. Raises StoreError."""
    name = f"{name}-{secrets.token_hex(4)}"
    client = await Client.connect(address)
    kept = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    await client.workflow_service.register_namespace(kept)
    for _ in range(60):
        with contextlib.suppress(StoreError):  # the server's parts learn of a namespace one after the other
            await register_attributes(Address(address, name))
            return name
        await asyncio.sleep(0.5)
    await register_attributes(Address(address, name))
    return name
