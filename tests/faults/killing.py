"""SIGKILL of one service of the plant, at a random moment while calls are in flight in it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.plant import Plant
from vertebra.schemas.errors import ServiceFailed

VICTIMS = ("worker", "temporal", "postgres", "tool host")
GAP_S = 2.0
_LOOKS, _LOOK_S = 200, 0.1
_TOOL_HOST = "vertebra.tools.host"


@dataclass
class Killer:
    """Kills what it is told to, a while after calls of these runs have left."""

    plant: Plant
    chance: random.Random
    runs: Sequence[str]
    gap_s: float = GAP_S
    killed: Counter[str] = field(default_factory=Counter)
    in_flight: list[int] = field(default_factory=list)
    """How many calls were in flight at each kill."""

    async def kill(self, victim: str) -> None:
        """Kill it a while after calls have left again, if any still do, and wait until it is back."""
        await self._wait_ready(victim)
        await self._until_flying(victim)
        await asyncio.sleep(self.chance.uniform(0.0, self.gap_s))
        self.in_flight.append(await self._flying(victim))
        for _ in range(_LOOKS):
            if await self._hit(victim):
                break
            await asyncio.sleep(_LOOK_S)
        else:
            raise AssertionError(f"the {victim} never runs long enough to be killed")
        self.killed[victim] += 1
        await self._wait_ready(victim)

    async def _hit(self, victim: str) -> bool:
        """False where it has just ended by itself, as a worker does that starts while a server is away."""
        await self._wait_ready(victim)
        try:
            if victim == "tool host":
                os.kill(await tool_host_of(self.plant), signal.SIGKILL)
            else:
                self.plant.supervisor.kill(victim)
        except (ServiceFailed, ProcessLookupError):
            return False
        return True

    async def _wait_ready(self, victim: str) -> None:
        if victim == "tool host":
            await tool_host_of(self.plant)
        else:
            await self.plant.supervisor.wait_ready(victim)

    async def _until_flying(self, victim: str) -> None:
        """A worker takes a while to start, and lost calls wait for their heartbeat's end."""
        for _ in range(_LOOKS):
            if await self._flying(victim):
                return
            await asyncio.sleep(_LOOK_S)

    async def _flying(self, victim: str) -> int:
        """The calls in flight in the worker that lives now; for its tool host those that need the sandbox."""
        pid = self.plant.supervisor.child("worker").pid
        [row] = await self.plant.sql(
            "select count(*) as flying from attempts a join calls c on c.id = a.call"
            " where a.state = 'held' and a.run = any(%(runs)s) and a.worker like %(worker)s"
            " and (c.node = 'compute' or not %(sandbox)s)",
            runs=list(self.runs),
            worker=f"{pid}@%",
            sandbox=victim == "tool host",
        )
        flying: int = row["flying"]
        return flying


async def tool_host_of(plant: Plant) -> int:
    """The process of the worker's tool host, once there is one."""
    for _ in range(2 * _LOOKS):
        pid = plant.supervisor.child("worker").pid
        hosts = [] if pid is None else [child for child in children(pid) if _TOOL_HOST in command_line(child)]
        if hosts:
            return hosts[0]
        await asyncio.sleep(_LOOK_S)
    raise AssertionError("the worker has no tool host")


def children(pid: int) -> list[int]:
    """The processes that this one has started and that still run."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
    return found


def command_line(pid: int) -> str:
    """Its words, or nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
