"""Others for context: LangGraph with its Postgres checkpointer, and DBOS, on the same Postgres, without a gate."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.measure import Sample
from vertebra.services.state import Services

_PATIENCE_S = 60.0
_MODULES = {
    "LangGraph": ("bench.by_langgraph", ("langgraph", "langgraph.checkpoint.postgres")),
    "DBOS": ("bench.by_dbos", ("dbos",)),
}


@dataclass(frozen=True)
class Process:
    """One of them at work; each word on its input is answered with the seconds that it took."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def crowd(self, runs: int) -> float:
        """So many runs of W1 at once."""
        return await self._ask(f"crowd {runs}")

    async def one(self, shape: str) -> float:
        """One run of a shape."""
        return await self._ask(f"one {shape}")

    async def _ask(self, words: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{words}\n".encode())
        await self.process.stdin.drain()
        while line := (await self.process.stdout.readline()).decode():
            if line.startswith("{"):
                return float(json.loads(line)["seconds"])
        raise RuntimeError(f"it ended while it was asked for {words!r}")


@dataclass(frozen=True)
class Other:
    """A contestant by its module."""

    module: str

    @asynccontextmanager
    async def process(self, services: Services) -> AsyncIterator[Process]:
        """Let it work; it ends when its input does."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self.module, services.postgres_dsn),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await Process(process).one("W1")
            yield Process(process)
        finally:
            process.stdin.close()
            await process.wait()


def found() -> dict[str, Other]:
    """Those that are installed: `make bench` installs them."""
    return {name: Other(module) for name, (module, needs) in _MODULES.items() if all(map(_is_installed, needs))}


def sample(process: Process, shape: str) -> Sample:
    """One run, in milliseconds."""

    async def one() -> float:
        return 1000 * await process.one(shape)

    return one


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
