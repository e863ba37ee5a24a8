"""What a run costs the servers, as counts: no clock, so no noise."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from bench.counts import MARKER, History, Statistics, history_of, statistics_of
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
    return await history_of(await done(stage, graph))


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
    async with owner:
        short, long = await of_a_run(stage, one, owner), await of_a_run(stage, three, owner)

    assert 2 * 2 >= long.commits - short.commits
    assert 2 * 2 >= long.flushes - short.flushes


async def of_a_run(stage: Stage, graph: CompiledGraph, owner: psycopg.AsyncConnection) -> Statistics:
    """What one run costs: the difference of many and few, since looking costs commits too."""
    await done(stage, graph)
    few = least([await of_runs(stage, graph, owner, RUNS) for _ in range(3)])
    many = least([await of_runs(stage, graph, owner, 2 * RUNS) for _ in range(3)])
    more = many.since(few)
    return Statistics(more.commits // RUNS, more.flushes // RUNS, more.wal_bytes // RUNS)


def least(looks: list[Statistics]) -> Statistics:
    """The least of each count: whatever else the server does meanwhile only adds to it."""
    return Statistics(*(min(getattr(look, name) for look in looks) for name in ("commits", "flushes", "wal_bytes")))


async def of_runs(stage: Stage, graph: CompiledGraph, owner: psycopg.AsyncConnection, runs: int) -> Statistics:
    before = await statistics_of(owner, stage.world.pool)
    for _ in range(runs):
        await done(stage, graph)
    return (await statistics_of(owner, stage.world.pool)).since(before)
