"""`vertebra dev` as the demo's child: its words are passed on until it is up, and it ends with us however we end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from vertebra.boundary.signalling import kill, send
from vertebra.schemas.errors import ServiceFailed
from vertebra.services.guard import Guard
from vertebra.services.process import ending
from vertebra.services.state import Services, find_services

VERTEBRA = (sys.executable, "-P", "-m", "vertebra.cli.main")
"""`-P`: the folder that a command is called in is no place to import from."""
_UP_S = 600.0
"""The first start may build the Temporal server."""
_STOP_S = 30.0
_LAST_LINES = 20


class Dev:
    """One `vertebra dev`."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell: Callable[[str], None] | None = tell
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._up = asyncio.Event()
        self._guard = Guard(lambda: None)
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start it, and return when everything takes runs. Raises ServiceFailed."""
        self._process = await asyncio.create_subprocess_exec(
            *VERTEBRA,
            "dev",
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )
        self._guard.started(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read(self._process.stdout, answer=True)),
            asyncio.create_task(self._read(self._process.stderr, answer=False)),
        ]
        await self._until_up(self._process)
        self._tell = None

    async def stop(self) -> None:
        """Stop it as Ctrl-C does, and wait until nothing of it is left."""
        process = self._process
        if process is not None:
            if process.returncode is None:
                send(process, signal.SIGINT)
                try:
                    await asyncio.wait_for(process.wait(), _STOP_S)
                except TimeoutError:
                    kill(process)
            await process.wait()
            self._guard.ended(process.pid)
        self._guard.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    @property
    def services(self) -> Services:
        """What runs now. Raises ServiceFailed with its last words if it has ended."""
        found = find_services(self._folder)
        if found is None:
            raise self._ended()
        return found

    async def _until_up(self, process: asyncio.subprocess.Process) -> None:
        up, gone = asyncio.create_task(self._up.wait()), asyncio.create_task(process.wait())
        await asyncio.wait([up, gone], timeout=_UP_S, return_when=asyncio.FIRST_COMPLETED)
        is_up = self._up.is_set()
        for task in (up, gone):
            task.cancel()
        await asyncio.gather(up, gone, return_exceptions=True)
        if not is_up:
            await asyncio.sleep(0.1)  # its last words are still in the pipe
            raise self._ended()

    async def _read(self, stream: asyncio.StreamReader, *, answer: bool) -> None:
        async for data in stream:
            line = data.decode(errors="replace").rstrip()
            self._said.append(line)
            if self._tell is not None:
                self._tell(line)
            if answer:  # its answer on standard output is that it is up; messages go to standard error
                self._up.set()

    def _ended(self) -> ServiceFailed:
        process = self._process
        code = process.returncode if process else None
        how = "is not up" if code is None else f"has ended ({ending(code)})"
        # until it is up, its words are shown as they come
        said = "; it said last:\n" + "\n".join(self._said) if self._up.is_set() else ""
        return ServiceFailed(
            f"`vertebra dev` {how}{said}",
            do=f"see the logs in {self._folder / '.vertebra' / 'logs'}",
        )
