"""Running one job in the `standard` level: start, feed, read within bounds, kill the whole tree at the first limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vertebra.boundary.signalling import kill
from vertebra.schemas.errors import SandboxUnavailable
from vertebra.schemas.tool import Job, JobAnswer, JobError, Limits, MemoryGuard
from vertebra.tools.sandbox.bwrap import Programs, command
from vertebra.tools.sandbox.cgroup import Group, Parents
from vertebra.tools.sandbox.seccomp import filter_program

_INSIDE = Path(__file__).with_name("inside.py")
_CHUNK = 65536
_HEAD = 16
"""Room for the line before an answer."""
_FLOOD_BYTES = 1_000_000
"""A job that prints more is killed; up to here the rest is read and thrown away."""
_LEAVE_WITHIN_S = 1.0
_END_WITHIN_S = 5.0
_SAID_BYTES = 2000
_OUT_OF_PROCESSOR_TIME = 128 + signal.SIGXCPU
"""How bwrap tells that its program died of this signal."""
_NAME_CHARS = 100


@dataclass(frozen=True)
class _Output:
    answer: bytes
    printed: bytes
    broken: JobError | None = None
    """The limit that ended the job."""


class StandardSandbox:
    """bubblewrap, system call filter, limits, and a control group where one can be made."""

    name = "standard"

    def __init__(self, programs: Programs, parents: Parents | None) -> None:
        """`parents` None = memory is bounded by address space only. Raises SandboxUnavailable without libseccomp."""
        self._programs = programs
        self._parents = parents
        try:
            filter_program()
        except (ImportError, OSError, RuntimeError) as error:
            raise SandboxUnavailable(
                f"there is no system call filter: {error}", do="install the package 'libseccomp2'"
            ) from None

    @property
    def memory(self) -> MemoryGuard:
        return "cgroup" if self._parents else "address space only"

    def command(self, limits: Limits, filter_fd: int, groups: tuple[Path, ...]) -> list[str]:
        return command(self._programs, limits, filter_fd, groups)

    async def run(self, job: Job) -> JobAnswer:
        """Run the job. Cancellation kills it. Raises SandboxUnavailable if it cannot start."""
        begun = time.monotonic()
        with self._group(job) as group, _filter() as filter_fd:
            process = await self._start(job.limits, filter_fd, group)
            try:
                output = await _converse(process, job)
                if output.broken is None:
                    await _leave(process)
            finally:
                await _kill(process)
            out_of_memory = group is not None and group.ran_out_of_memory()
        duration_ms = round((time.monotonic() - begun) * 1000)
        return _answer(output, process.returncode or 0, duration_ms, out_of_memory=out_of_memory)

    @contextlib.contextmanager
    def _group(self, job: Job) -> Iterator[Group | None]:
        if self._parents is None:
            yield None
            return
        with self._parents.group(os.urandom(8).hex(), job.limits) as group:
            yield group

    async def _start(self, limits: Limits, filter_fd: int, group: Group | None) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                *self.command(limits, filter_fd, group.entries if group else ()),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env={},
                cwd="/",
                pass_fds=(filter_fd,),
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox does not start: {error}") from None


@cache
def _program() -> bytes:
    return _INSIDE.read_bytes()


@contextlib.contextmanager
def _filter() -> Iterator[int]:
    """A fresh descriptor of the filter: bwrap reads it to its end."""
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, filter_program())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


async def _converse(process: asyncio.subprocess.Process, job: Job) -> _Output:
    """Hand the job over and read both outputs, each within its bound, until both end or a limit breaks."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    limits = job.limits
    answer, printed = bytearray(), bytearray()
    work = [
        asyncio.ensure_future(_feed(process.stdin, job)),
        asyncio.ensure_future(_read(process.stdout, answer, limits.answer_bytes + _HEAD, limits.answer_bytes + _HEAD)),
        asyncio.ensure_future(_read(process.stderr, printed, limits.printed_bytes, _FLOOD_BYTES)),
    ]
    broken: JobError | None = None
    try:
        async with asyncio.timeout(limits.wall_s):
            await asyncio.gather(*work)
    except TimeoutError:
        broken = JobError(type="Timeout", message=f"it took longer than {limits.wall_s} s")
    except _TooMuch as limit:
        broken = JobError(type="TooMuchOutput", message=f"it wrote more than {limit.size} bytes")
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    return _Output(bytes(answer), bytes(printed), broken)


class _TooMuch(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


async def _feed(pipe: asyncio.StreamWriter, job: Job) -> None:
    program = _program()
    with contextlib.suppress(ConnectionError):  # it ended before it read: its exit says why
        pipe.write(b"%d\n" % len(program) + program + job.model_dump_json(exclude={"limits"}).encode())
        await pipe.drain()
    pipe.close()


async def _read(pipe: asyncio.StreamReader, kept: bytearray, keep: int, at_most: int) -> None:
    """Keep the first bytes, throw away the next, raise _TooMuch at the bound."""
    seen = 0
    while chunk := await pipe.read(_CHUNK):
        seen += len(chunk)
        kept += chunk[: max(0, keep - len(kept))]
        if seen > at_most:
            raise _TooMuch(at_most)


async def _leave(process: asyncio.subprocess.Process) -> None:
    """Let a process that has closed its outputs end by itself: killing it at that moment would hide its exit code."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE_WITHIN_S):
            await process.wait()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the outermost process: the kernel then ends the whole namespace with it."""
    if process.returncode is not None:
        return
    kill(process)
    await asyncio.shield(asyncio.wait_for(_ended(process), _END_WITHIN_S))


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a killed process. asyncio reports it only once both its outputs were read to their ends."""
    for pipe in (process.stdout, process.stderr):
        while pipe is not None and await pipe.read(_CHUNK):
            pass
    await process.wait()


def _answer(output: _Output, exit_code: int, duration_ms: int, *, out_of_memory: bool) -> JobAnswer:
    printed = _text(output.printed)
    status, _, body = output.answer.partition(b"\n")
    error = output.broken
    if error is None and out_of_memory:
        error = JobError(type="OutOfMemory", message="it used more memory than it may")
    if error is None and status == b"ok":
        return _accepted(body, printed, duration_ms)
    if error is None and status == b"error":
        error = _told(body)
    if error is None:
        error = JobError(type="Killed", message=_cause(output, exit_code))
    return JobAnswer(error=error, printed=printed, duration_ms=duration_ms)


def _cause(output: _Output, exit_code: int) -> str:
    if exit_code == _OUT_OF_PROCESSOR_TIME:
        return "it used more processor time than it may"
    said = _text(output.printed[-_SAID_BYTES:]).strip()
    return f"it ended with exit code {exit_code} and no answer" + (f": {said}" if said else "")


def _accepted(body: bytes, printed: str, duration_ms: int) -> JobAnswer:
    try:
        return JobAnswer(answer=body.decode(), printed=printed, duration_ms=duration_ms)
    except UnicodeDecodeError:
        error = JobError(type="BadAnswer", message="its answer is no UTF-8")
        return JobAnswer(error=error, printed=printed, duration_ms=duration_ms)


def _told(body: bytes) -> JobError:
    """The tool's own error, which its code may have forged: plain text, bounded."""
    try:
        told = JobError.model_validate_json(body[:_CHUNK])
    except ValueError:
        return JobError(type="BadAnswer", message="its answer cannot be read")
    kind = told.type if told.type.isidentifier() else "Error"
    return JobError(type=kind[:_NAME_CHARS], message=_text(told.message.encode())[:_SAID_BYTES])


def _text(data: bytes) -> str:
    """Text that every store takes: no NUL, no half characters."""
    return data.decode(errors="replace").replace("\0", "\ufffd")
