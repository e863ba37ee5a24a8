"""Worker processes of the contestants, and what processes cost: seconds of processor time and bytes of memory."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from bench.worker import READY

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 60.0


@asynccontextmanager
async def worker(contestant: str, folder: Path) -> AsyncIterator[int]:
    """One contestant's worker; gives its pid. It ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.worker", contestant, str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while (line := await process.stdout.readline()) and line.decode().strip() != READY:
                pass  # what a library says before
        if not line:
            raise RuntimeError(f"the worker of {contestant!r} ended before it worked")
        yield process.pid
    finally:
        process.stdin.close()
        await process.wait()


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
        children.setdefault(parent, []).append(int(place.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time of these processes so far, with that of children which have ended."""
    ticks = 0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a backend that ended: its parent has its time
        ticks += sum(int(word) for word in words[11:15])
    return ticks * _TICK_S


def memory_bytes(pid: int) -> int:
    """Resident memory of one process that belongs to nobody else."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))
