"""`vertebra worker`: one gate worker, until it is told to stop; and the question whether this machine's works."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.logs import configure
from vertebra.cli.options import AsJson
from vertebra.client.temporal import has_worker
from vertebra.schemas.errors import StoreError
from vertebra.store.schema import check_schema
from vertebra.workers.frontend import address_of
from vertebra.workers.main import run_worker

app = typer.Typer()


@app.command(epilog="Example: VERTEBRA_GATE_DSN=... VERTEBRA_TEMPORAL_ADDRESS=... vertebra worker")
def worker(
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing: ask whether a worker of this machine takes runs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run workflows and gated effects, and the duties in the background. Logs are JSON lines on standard error."""
    desk = open_desk(as_json=as_json)
    if check:
        asyncio.run(_check(desk))
        return
    configure(desk.settings.log_level)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await run_worker(desk.settings, stop)

    asyncio.run(until_stopped())
    gc.collect()  # else the process may abort at exit: an activity was in flight when the worker stopped


async def _check(desk: Desk) -> None:
    """Raises StoreError where Postgres or Temporal is away, or where Temporal has not heard of the worker lately."""
    async with desk.database("vertebra_gate") as connection:
        await check_schema(connection)
    address = address_of(desk.settings)
    host = socket.gethostname()
    if not await has_worker(address, host=host):
        raise StoreError(f"no worker of {host} has asked Temporal for runs lately", do="see its log")
    desk.out.give({"host": host, "working": True}, f"a worker of {host} takes runs")
