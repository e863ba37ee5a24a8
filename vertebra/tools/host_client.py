"""The worker's side of the tool host: starts it, starts it again when it dies, hands it jobs, distrusts its answers."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import Process
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

import vertebra
from vertebra.boundary.signalling import kill
from vertebra.schemas.errors import BadJson, BadToolOutput, JobFailed, SandboxUnavailable, ToolHostLost, ToolTimeout
from vertebra.schemas.strict_json import read_json
from vertebra.schemas.tool import Job, JobAnswer, JobError, ProbeReport, ToolSpec
from vertebra.tools.checks import check_output
from vertebra.tools.frames import BadFrame, read_frame, write_frame
from vertebra.tools.sandbox.bwrap import SEARCH_PATH

_PREFIX = "vertebra-tools-"
_READY_WITHIN_S = 30.0
_STOP_WITHIN_S = 3.0
_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)
# -I keeps PYTHON* and the working folder out; the package's own place is given as the first argument
_BOOT = "import runpy,sys;sys.path.append(sys.argv.pop(1));runpy.run_module('vertebra.tools.host',run_name='__main__')"


class ToolHost:
    """A tool host as a child process: `async with ToolHost() as host: await host.run(job, spec)`.

    Use it from one long-lived thread: the child dies when the thread that started it ends.
    """

    def __init__(self, *, python: str | None = None, path: str = SEARCH_PATH, at_once: int = 4) -> None:
        """`python` is the interpreter inside the sandbox, `path` is where bwrap is looked for."""
        self._options = ["--path", path, "--jobs", str(at_once), *(["--python", python] if python else [])]
        self._report = ProbeReport(reason="the tool host has not started")
        self._ready = asyncio.Event()
        self._jobs = 0
        self._folder: Path | None = None
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def report(self) -> ProbeReport:
        """What the last probe found: the level, or why tools that run code are refused."""
        return self._report

    @property
    def pid(self) -> int | None:
        """The process id of the running host."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def __aenter__(self) -> ToolHost:
        self._folder = _new_folder()
        await self._start()
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._stop()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def fresh(self) -> str:
        """Makes the id of a job that may run again one that is used once."""
        self._jobs += 1
        return f"{os.getpid()}.{self._jobs}"

    async def run(self, job: Job, spec: ToolSpec) -> JobAnswer:
        """Run the job; its answer fits the tool's output schema. Cancelling kills it.

        Raises ToolHostLost (a lost attempt), SandboxUnavailable, ToolTimeout, JobFailed (the code's own failure, or a
        limit), BadToolOutput.
        """
        await self._wait_ready()
        if self._report.level is None:
            raise SandboxUnavailable(f"{spec.name!r} runs code, and no sandbox works here: {self._report.reason}")
        answer = await self._exchange(job)
        if answer.error is not None:
            raise _failure(spec, answer.error, answer.printed)
        _check_answer(spec, job, answer)
        return answer

    async def _exchange(self, job: Job) -> JobAnswer:
        assert self._folder is not None
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_unix_connection(_socket(self._folder))
            await write_frame(writer, job.model_dump_json().encode())
            return JobAnswer.model_validate_json(await read_frame(reader))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ToolHostLost(f"the tool host was lost while {job.tool!r} ran ({type(error).__name__})") from None
        except (BadFrame, ValidationError):
            raise BadToolOutput(f"{job.tool!r}: job or answer is no frame that we know", tool=job.tool) from None
        finally:
            if writer is not None:
                writer.close()

    async def _wait_ready(self) -> None:
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                await self._ready.wait()
        except TimeoutError:
            raise ToolHostLost("the tool host does not start", do="look at the worker's log for its reason") from None

    async def _keep(self) -> None:
        """Start the host again whenever it has died, ever less often while it dies at once."""
        deaths = 0
        while True:
            assert self._process is not None
            began = asyncio.get_running_loop().time()
            await self._process.wait()
            self._ready.clear()
            lived = asyncio.get_running_loop().time() - began
            deaths = deaths + 1 if lived < _READY_WITHIN_S else 0
            await asyncio.sleep(_BACKOFF_S[min(deaths, len(_BACKOFF_S) - 1)])
            try:
                await self._start()
            except OSError as error:
                # no process or no memory to be had now: the next round finds the dead one again, and waits longer
                self._report = ProbeReport(reason=f"the tool host does not start: {error.strerror}")

    async def _start(self) -> None:
        assert self._folder is not None
        place = _socket(self._folder)
        place.unlink(missing_ok=True)
        root = str(Path(vertebra.__file__).parent.parent)
        options = ["--socket", str(place), "--parent", str(os.getpid()), *self._options]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _BOOT, root, *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,  # a Ctrl-C of the terminal is the worker's to handle
        )
        await self._read_report(self._process)

    async def _read_report(self, process: Process) -> None:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                line = await process.stdout.readline()
            self._report = ProbeReport.model_validate_json(line)
            self._ready.set()
        except (TimeoutError, ValidationError):
            self._report = ProbeReport(reason="the tool host does not start")
            kill(process)

    async def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            kill(process)
            await process.wait()


def _new_folder() -> Path:
    """A folder of our own, 0700, with a short name: a socket path has 107 bytes. Removes those of killed workers."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = old.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdecimal() and not _lives(int(owner)):
            shutil.rmtree(old, ignore_errors=True)  # another user's stays
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _socket(folder: Path) -> Path:
    return folder / "host.sock"


def _failure(spec: ToolSpec, error: JobError, printed: str) -> Exception:
    """What the caller is told of a job without an answer."""
    if error.type == "SandboxUnavailable":
        return SandboxUnavailable(error.message)
    if error.type == "Timeout":
        return ToolTimeout(f"{spec.name!r}: {error.message}", tool=spec.name, printed=printed)
    return JobFailed(f"{spec.name!r}: {error.type}: {error.message}", tool=spec.name, kind=error.type, printed=printed)


def _check_answer(spec: ToolSpec, job: Job, answer: JobAnswer) -> None:
    try:
        value = read_json(answer.answer or "", max_bytes=job.limits.answer_bytes, at=spec.name)
    except BadJson as error:
        raise BadToolOutput(f"the answer is no JSON: {error.message}", at=error.at, tool=spec.name) from None
    check_output(spec, value)
