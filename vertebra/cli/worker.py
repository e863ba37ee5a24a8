"""`vertebra worker`: one gate worker, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal

import typer

from vertebra.cli.desk import open_desk
from vertebra.cli.logs import configure
from vertebra.workers.main import run_worker

app = typer.Typer()


@app.command(epilog="Example: VERTEBRA_GATE_DSN=... VERTEBRA_TEMPORAL_ADDRESS=... vertebra worker")
def worker() -> None:
    """Run workflows and gated effects, and the duties in the background. Logs are JSON lines on standard error."""
    desk = open_desk()
    configure(desk.settings.log_level)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await run_worker(desk.settings, stop)

    asyncio.run(until_stopped())
    gc.collect()  # else the process may abort at exit: an activity was in flight when the worker stopped
