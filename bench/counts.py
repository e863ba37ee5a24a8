"""What one run costs the servers, counted: events and bytes of its history, commits and flushes of Postgres."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import psycopg
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from vertebra.store.pool import InMemoryPool, Links

MARKER = EventType.EVENT_TYPE_MARKER_RECORDED
SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
_STATISTICS = """
select (select xact_commit from pg_stat_database where datname = current_database()) as commits,
    (select wal_sync from pg_stat_wal) as flushes,
    (select wal_bytes from pg_stat_wal)::bigint as wal_bytes
"""


@dataclass(frozen=True)
class History:
    """The history of one run."""

    events: int
    bytes: int
    by_type: Counter[int]

    @property
    def activities(self) -> int:
        return self.by_type[SCHEDULED]


async def history_of(handle: WorkflowHandle[object, object]) -> History:
    """Count what the server keeps of a run."""
    history = await handle.fetch_history()
    kinds = Counter(int(event.event_type) for event in history.events)
    return History(len(history.events), sum(event.ByteSize() for event in history.events), kinds)


@dataclass(frozen=True)
class Statistics:
    """What Postgres has counted since it started. Flushes are the whole server's."""

    commits: int
    flushes: int
    wal_bytes: int

    def since(self, before: Statistics) -> Statistics:
        """The difference."""
        return Statistics(
            self.commits - before.commits, self.flushes - before.flushes, self.wal_bytes - before.wal_bytes
        )


async def statistics_of(owner: psycopg.AsyncConnection, pool: Links) -> Statistics:
    """Read the counters, after every connection of the pool has been told to hand in its own.

    Looking costs commits too, always as many once every connection has been in use: compare differences.
    """
    assert not isinstance(pool, InMemoryPool), "counts are of a server"
    connections = [await pool.getconn() for _ in range(pool.max_size)]
    for connection in connections:
        await connection.execute("select pg_stat_force_next_flush()")
        await pool.putconn(connection)
    await owner.execute("select pg_stat_force_next_flush()")
    row = await (await owner.execute(_STATISTICS)).fetchone()
    assert row is not None
    return Statistics(*row)
