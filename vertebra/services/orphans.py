"""Ends what a killed supervisor may have left, before its data is opened again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from vertebra.services.state import Services

_PATIENCE_S = 12.0


def started_at(pid: int) -> int | None:
    """When the process started, in ticks since boot; None if it is gone or the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text.rpartition(")")[2].split()  # the name in brackets may hold anything
    return None if state == "Z" else int(fields[18])


async def end(left: Services) -> None:
    """Wait for the processes of a stale file, interrupted already by the supervisor's death; kill those that stay."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    alive = _alive(left)
    for pid in alive:
        _signal(pid, signal.SIGINT)
    while alive and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
        alive = _alive(left)
    for pid in alive:
        _signal(pid, signal.SIGKILL)


def _alive(left: Services) -> list[int]:
    return [pid for name, pid in left.pids.items() if started_at(pid) == left.started.get(name, -1)]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
