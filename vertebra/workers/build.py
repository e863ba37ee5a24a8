"""One gate worker: the queue of runs and local steps, and the queue of gated effects, over one world."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from vertebra.activities.effects import bodies
from vertebra.activities.steps import Steps
from vertebra.activities.world import World
from vertebra.schemas.ids import EFFECTS, RUNS
from vertebra.settings import Limits
from vertebra.workers.interceptor import Gate

STICKY_S = 5
DEADLOCK_S = 30
"""When a workflow task counts as hung. The library's 2 s are of the clock: thousands of signals at once, or a machine
with other work, take longer, and a task that is failed for that comes again, larger, for ever."""
DEFAULTS = Limits()


def build_worker(client: Client, world: World, limits: Limits = DEFAULTS) -> tuple[Worker, Worker]:
    """The two workers of one process. The client must carry the plugin."""
    gate = Gate(world)
    runs = Worker(
        client,
        task_queue=RUNS,
        activities=Steps(world).all,
        interceptors=[gate],
        no_remote_activities=True,
        max_concurrent_workflow_tasks=limits.workflow_tasks,
        max_cached_workflows=limits.cached_runs,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_S),
        disable_eager_activity_execution=True,
        identity=world.worker,
    )
    effects = Worker(
        client,
        task_queue=EFFECTS,
        activities=bodies(world),
        interceptors=[gate],
        max_concurrent_activities=limits.effects,
        max_heartbeat_throttle_interval=timedelta(seconds=3),
        default_heartbeat_throttle_interval=timedelta(seconds=3),
        graceful_shutdown_timeout=timedelta(seconds=5),
        disable_eager_activity_execution=True,
        identity=world.worker,
    )
    assert runs._workflow_worker is not None
    runs._workflow_worker._deadlock_timeout_seconds = DEADLOCK_S  # no option of the library's sets it
    return runs, effects


@asynccontextmanager
async def working(client: Client, world: World, limits: Limits = DEFAULTS) -> AsyncIterator[None]:
    """Run both workers for the length of the block."""
    async with AsyncExitStack() as stack:
        for worker in build_worker(client, world, limits):
            await stack.enter_async_context(worker)
        yield
