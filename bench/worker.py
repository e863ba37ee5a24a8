"""`python -m bench.worker CONTESTANT FOLDER`: one contestant's worker in a process of its own, until its input ends."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from temporalio.client import Client

from bench.rival import rivals
from bench.shapes import BOOKED, PLAIN, VERTEBRA
from bench.stage import settings_of
from vertebra.services.state import Services, find_services
from vertebra.store.pool import new_pool
from vertebra.workers.build import working
from vertebra.workers.main import connect, made_world

READY = "ready"


@asynccontextmanager
async def _ours(folder: Path, services: Services) -> AsyncIterator[None]:
    settings = settings_of(folder, services)
    client = await connect(settings)
    async with made_world(settings) as world, working(client, world, settings.limits):
        yield


@asynccontextmanager
async def _theirs(folder: Path, services: Services) -> AsyncIterator[None]:
    """Both hand-written workers: the one that nobody gives work costs a poll a minute."""
    client = await Client.connect(services.temporal_address)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(new_pool(services.postgres_dsn, min_size=4, max_size=16))
        await stack.enter_async_context(rivals(client, pool))
        yield


_WORKERS: dict[str, Callable[[Path, Services], AbstractAsyncContextManager[None]]] = {
    VERTEBRA: _ours,
    PLAIN: _theirs,
    BOOKED: _theirs,
}


async def _work(contestant: str, folder: Path) -> None:
    services = find_services(folder)
    assert services is not None, "the bench starts the services first"
    async with _WORKERS[contestant](folder, services):
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """The command."""
    asyncio.run(_work(sys.argv[1], Path(sys.argv[2])))
    gc.collect()  # else the process may abort at exit: an activity was in flight when its worker stopped


if __name__ == "__main__":
    main()
