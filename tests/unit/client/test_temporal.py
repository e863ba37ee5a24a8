"""What is said to Temporal, against services that answer as a cluster's do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesResponse
from temporalio.service import RPCError, RPCStatusCode

from vertebra.client import temporal
from vertebra.client.connection import Address
from vertebra.schemas.errors import StoreError

NOT_YET = RPCError("invalid expression: column name 'VtTenant'", RPCStatusCode.INVALID_ARGUMENT, b"")


class Cluster:
    """Takes the attributes at once; the server that is asked knows them only after so many questions."""

    def __init__(self, unknown: int) -> None:
        self.unknown, self.asked = unknown, 0
        self.added: set[str] = set()

    async def list_search_attributes(self, request: object) -> ListSearchAttributesResponse:
        return ListSearchAttributesResponse()

    async def add_search_attributes(self, request: AddSearchAttributesRequest) -> None:
        self.added |= set(request.search_attributes)

    async def count_workflow_executions(self, request: object) -> None:
        self.asked += 1
        if self.asked <= self.unknown:
            raise NOT_YET


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """In place of the connection; it is asked without a pause."""
    made = Cluster(request.param)

    async def connect(address: Address) -> SimpleNamespace:
        return SimpleNamespace(operator_service=made, workflow_service=made)

    monkeypatch.setattr(temporal, "connect", connect)
    monkeypatch.setattr(temporal, "_LOOK_S", 0)
    return made


@pytest.mark.parametrize("cluster", [3], indirect=True)
async def test_search_attributes_are_known_when_they_are_said_to_be(cluster: Cluster) -> None:
    """A run that started right after `vertebra migrate` was refused for an attribute new to its server."""
    added = await temporal.register_attributes(Address("127.0.0.1:7233", "default"))

    assert set(temporal.ATTRIBUTES) == set(added) == cluster.added
    assert 4 == cluster.asked


@pytest.mark.parametrize("cluster", [10_000], indirect=True)
async def test_attributes_that_stay_unknown_are_told(cluster: Cluster) -> None:
    """Nobody waits for ever."""
    with pytest.raises(StoreError, match="does not know them yet"):
        await temporal.register_attributes(Address("127.0.0.1:7233", "default"))
