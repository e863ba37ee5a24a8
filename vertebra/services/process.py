"""One supervised child: started, probed, started again with back-off when it dies, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vertebra.boundary.signalling import kill, send
from vertebra.schemas.errors import ServiceFailed
from vertebra.services.logfile import LogFile

_FIRST_DELAY_S = 0.1
_CALM_S = 30.0
_PROBE_EVERY_S = 0.05
_READ_BYTES = 65_536


async def always_ready() -> bool:
    """The probe of a child that needs none."""
    return True


@dataclass(frozen=True)
class ChildSpec:
    """What runs, with which environment (all of it: nothing is inherited), and when it counts as ready."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], Awaitable[bool]] = always_ready
    cwd: Path | None = None
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 15.0
    """After SIGINT; then SIGKILL."""
    longest_delay_s: float = 5.0
    """Before one more start of what dies again and again."""


class Watch:
    """Told of every process that starts and every one that ended."""

    def started(self, pid: int) -> None:
        """`pid` leads a process group of its own and runs."""

    def ended(self, pid: int) -> None:
        """`pid` has been waited for."""


class Child:
    """A child process and its successors. Every process leads its own group, so Ctrl-C reaches the supervisor alone."""

    def __init__(self, spec: ChildSpec, log: LogFile, watch: Watch) -> None:
        self.spec = spec
        self.restarts = 0
        self._log = log
        self._watch = watch
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._pipes: set[int] = set()

    @property
    def pid(self) -> int | None:
        """The running process, or None between two."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def is_ready(self) -> bool:
        """Whether the running process has passed its probe."""
        return self._ready.is_set() and self.pid is not None

    async def start(self) -> None:
        """Start and wait until ready, then keep it running. Raises ServiceFailed with the last lines of its output."""
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")

    async def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until a running process has passed its probe."""
        await asyncio.wait_for(self._ready.wait(), timeout_s)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the process itself and return its pid: for tests of faults."""
        pid = self.pid
        if pid is None:
            raise ServiceFailed(f"{self.spec.name} does not run now")
        os.kill(pid, number)
        if number == signal.SIGKILL:
            self._ready.clear()
        return pid

    async def stop(self) -> None:
        """Interrupt, wait, kill. Safe to call twice."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._end()
        for pipe in list(self._pipes):
            self._close(pipe)

    async def _keep(self) -> None:
        delay = _FIRST_DELAY_S
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            code = await self._gone()
            if loop.time() - began > _CALM_S:
                delay = _FIRST_DELAY_S
            self._log.note(f"{self.spec.name} ended ({ending(code)}); it starts again in {delay:g} s")
            while not await self._again(delay):
                delay = min(delay * 2, self.spec.longest_delay_s)
            delay = min(delay * 2, self.spec.longest_delay_s)

    async def _again(self, delay_s: float) -> bool:
        """Whether it is ready again after one more try."""
        await asyncio.sleep(delay_s)
        self.restarts += 1
        try:
            await self._launch()
        except Exception as error:  # a probe of others may raise anything: the child is tried again all the same
            self._log.note(str(error))
            await self._end()
            return False
        return True

    async def _launch(self) -> None:
        self._ready.clear()
        self._log.forget()
        process = await self._spawn()
        self._process = process
        self._watch.started(process.pid)
        await self._until_ready(process)
        self._ready.set()

    async def _spawn(self) -> asyncio.subprocess.Process:
        # not asyncio's own pipe: its wait() lasts until the last grandchild has closed its end
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env=dict(self.spec.env),
                cwd=self.spec.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                process_group=0,
            )
        except OSError as error:
            os.close(reading)
            raise ServiceFailed(f"{self.spec.name} cannot be started: {error}", at=self.spec.argv[0]) from error
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._follow(reading)
        return process

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.spec.ready_timeout_s
        while process.returncode is None:
            if await self.spec.ready():
                return
            if loop.time() > deadline:
                raise self._failed(f"was not ready after {self.spec.ready_timeout_s:g} s")
            await asyncio.sleep(_PROBE_EVERY_S)
        await asyncio.sleep(_PROBE_EVERY_S)  # its last words are still in the pipe
        raise self._failed(f"ended before it was ready ({ending(process.returncode)})")

    def _failed(self, what: str) -> ServiceFailed:
        said = self._log.tail()
        return ServiceFailed(
            f"{self.spec.name} {what}" + (f"; it said last:\n{said}" if said else ""),
            do=f"see {self._log.path}",
            output=said,
        )

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            send(process, signal.SIGINT)
            try:
                await asyncio.wait_for(process.wait(), self.spec.stop_timeout_s)
            except TimeoutError:
                self._log.note(f"{self.spec.name} did not stop in {self.spec.stop_timeout_s:g} s and is killed")
                kill(process)
        await self._gone()

    async def _gone(self) -> int:
        """Wait for the end of the process; whoever is left of its group ends with it."""
        process = self._process
        if process is None:
            return 0
        code = await process.wait()
        self._ready.clear()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._watch.ended(process.pid)
        self._process = None  # its number may soon be another's
        return code

    def _follow(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipes.add(pipe)
        asyncio.get_running_loop().add_reader(pipe, self._read, pipe)

    def _read(self, pipe: int) -> None:
        data = os.read(pipe, _READ_BYTES)
        if data:
            self._log.write(data)
        else:
            self._close(pipe)

    def _close(self, pipe: int) -> None:
        asyncio.get_running_loop().remove_reader(pipe)
        self._pipes.discard(pipe)
        os.close(pipe)


def ending(code: int) -> str:
    """An exit code in words."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
