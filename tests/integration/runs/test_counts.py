"""What a run costs the servers, as counts: no clock, so no noise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from bench.counts import MARKER, History, history_of, statistics_of
from tests.integration.runs.test_shell import published, speaks
from tests.stage import Stage
from tests.stores import Migrated
from vertebra.schemas.graph import CompiledGraph

pytestmark = pytest.mark.server

EVENTS_OF_AN_ACTIVITY = 3
"""Scheduled, started, completed. Workflow tasks are left out: how many there are depends on what ends together."""
TASKS = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
)
RUNS = 5


async def done(stage: Stage, graph: CompiledGraph) -> WorkflowHandle[object, object]:
    """A run that has ended."""
    handle = await stage.start(graph, {"text": "x"})
    await asyncio.wait_for(handle.result(), 90)
    return handle


async def counted(stage: Stage, graph: CompiledGraph) -> History:
    """The history of a run, but of one whose every step had the time: the repetition of one is told by its timer."""
    for _ in range(5):
        history = await history_of(await done(stage, graph))
        if not history.by_type[EventType.EVENT_TYPE_TIMER_STARTED]:
            break
    return history


def without_tasks(history: History) -> int:
    return history.events - sum(history.by_type[kind] for kind in TASKS)


async def sequence(stage: Stage, name: str, *nodes: str) -> CompiledGraph:
    edges = "".join(f"  - {one} -> {other}\n" for one, other in zip(nodes, (*nodes[1:], "end"), strict=True))
    return await published(stage, name, "nodes:\n" + "".join(map(speaks, nodes)) + "edges:\n" + edges)


async def test_a_node_costs_no_event_more_than_an_activity_by_hand(stage: Stage) -> None:
    """Start, end, two markers (admit, close), the end state, and three events for each activity: nothing else."""
    graph = await sequence(stage, "counts-three", "one", "two", "three")

    history = await counted(stage, graph)

    assert 3 == history.activities
    assert 2 == history.by_type[MARKER]
    assert 1 + 2 + 3 * EVENTS_OF_AN_ACTIVITY + 1 + 1 == without_tasks(history)


async def test_a_join_costs_no_event(stage: Stage) -> None:
    """Three branches that meet before a fourth node leave the events of four activities."""
    body = "nodes:\n" + "".join(map(speaks, ("one", "two", "three", "after")))
    edges = "edges:\n  - one -> two, three\n  - two, three -> after: {join: all}\n"
    graph = await published(stage, "counts-join", body + edges)

    history = await counted(stage, graph)

    assert 1 + 2 + 4 * EVENTS_OF_AN_ACTIVITY + 1 + 1 == without_tasks(history)


async def test_a_round_of_decisions_costs_one_marker(stage: Stage) -> None:
    """However many conditions are ready together, their answers are one event."""
    conditions = (
        "  - one -> two: {when: \"input.text == 'a'\"}\n  - one -> three: {when: \"input.text == 'x'\"}\n"
        "  - one -> end: {else: true}\n"
    )
    body = "nodes:\n" + "".join(map(speaks, ("one", "two", "three"))) + "edges:\n" + conditions
    graph = await published(stage, "counts-when", body)

    history = await counted(stage, graph)

    assert 3 == history.by_type[MARKER]
    assert 1 + 3 + 2 * EVENTS_OF_AN_ACTIVITY + 1 + 1 == without_tasks(history)


async def test_an_effect_costs_two_commits(stage: Stage, migrated: Migrated) -> None:
    """Between runs of one node and runs of three lie two effects: at most four commits, each flushed once."""
    one = await sequence(stage, "counts-commits-1", "one")
    three = await sequence(stage, "counts-commits-3", "one", "two", "three")
    owner = await migrated.superuser()
    async with owner, without_autovacuum(owner):
        short, long = await of_runs(stage, one, owner), await of_runs(stage, three, owner)

    assert 2 * 2 * RUNS >= long.commits - short.commits
    assert 2 * 2 * RUNS >= long.flushes - short.flushes


@dataclass(frozen=True)
class Written:
    """What RUNS runs wrote. Commits by the ids of their transactions: only one that writes has an id."""

    commits: int
    flushes: int


async def of_runs(stage: Stage, graph: CompiledGraph, owner: psycopg.AsyncConnection) -> Written:
    """The least of some looks: whatever else the server does meanwhile only adds to it."""
    await done(stage, graph)
    looks = [await _look(stage, graph, owner) for _ in range(4)]
    return Written(min(look.commits for look in looks), min(look.flushes for look in looks))


async def _look(stage: Stage, graph: CompiledGraph, owner: psycopg.AsyncConnection) -> Written:
    before, written = await _transactions(owner), await statistics_of(owner, stage.world.pool)
    for _ in range(RUNS):
        await done(stage, graph)
    after = await statistics_of(owner, stage.world.pool)
    return Written(await _transactions(owner) - before, after.since(written).flushes)


async def _transactions(owner: psycopg.AsyncConnection) -> int:
    """The id that the next transaction which writes will have."""
    row = await (await owner.execute("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")).fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def without_autovacuum(owner: psycopg.AsyncConnection) -> AsyncIterator[None]:
    """Its transactions have ids of the same count."""
    await owner.execute("alter system set autovacuum = off")
    await owner.execute("select pg_reload_conf()")
    try:
        yield
    finally:
        await owner.execute("alter system reset autovacuum")
        await owner.execute("select pg_reload_conf()")
