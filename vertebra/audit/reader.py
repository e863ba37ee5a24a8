"""The audit as programs ask it: `audit.query`, `audit.trace`, `audit.aggregate`, over one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import psycopg

from vertebra.audit import aggregate as aggregating
from vertebra.audit import query as querying
from vertebra.audit import trace as tracing
from vertebra.audit.aggregate import Sum
from vertebra.audit.query import Filter, Page
from vertebra.audit.trace import Traced
from vertebra.schemas.errors import StoreError
from vertebra.schemas.ids import DEFAULT_TENANT, Tenant
from vertebra.schemas.time_range import ALWAYS, TimeRange
from vertebra.store.pool import Connection, connect

Times = Mapping[str, str | datetime]
"""`{"last": "30d"}`, or `{"from": .., "to": ..}`."""


class Audit:
    """What one tenant's audit answers. Nothing is verified here: `vertebra audit verify` does that."""

    def __init__(
        self,
        connection: Connection,
        tenant: Tenant = DEFAULT_TENANT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`connection` is best of the role `vertebra_reader`, which may read and nothing else."""
        self._connection, self._tenant, self._now = connection, tenant, now

    async def query(
        self,
        *,
        operation_type: str | None = None,
        success: bool | None = None,
        agent_id: str | None = None,
        node: str | None = None,
        run: str | None = None,
        correlation_id: str | None = None,
        time_range: Times | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Entries that fit all that is given, newest first; `after` is the `next` of the page before.

        Raises BadInput, StoreError.
        """
        times = self._times(time_range)
        asked = Filter(operation_type, success, agent_id, node, run, correlation_id, times)
        with _answered():
            return await querying.query(self._connection, self._tenant, asked, limit=limit, after=after)

    async def trace(self, correlation_id: str) -> list[Traced]:
        """Everything under one correlation id, in the order of time. Raises StoreError."""
        with _answered():
            return await tracing.trace(self._connection, self._tenant, correlation_id)

    async def aggregate(self, *, metric: str, group_by: str = "total", time_range: Times | None = None) -> list[Sum]:
        """One exact integer for each group, the largest first; money is micro-USD. Raises BadInput, StoreError."""
        times = self._times(time_range)
        with _answered():
            return await aggregating.aggregate(self._connection, self._tenant, metric, group_by, times)

    def _times(self, given: Times | None) -> TimeRange:
        return ALWAYS if given is None else TimeRange.of(given, self._now())


@asynccontextmanager
async def open_audit(dsn: str, tenant: Tenant = DEFAULT_TENANT) -> AsyncIterator[Audit]:
    """Ask the audit of a database, by a connection of its own. Raises StoreError."""
    with _answered():
        connection = await connect(dsn, name="vertebra-audit")
    async with connection:
        yield Audit(connection, tenant)


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise StoreError("the question takes too long", do="ask for less time, or add a filter") from error
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StoreError(f"the audit does not answer: {reason}", do="see: vertebra doctor") from error
