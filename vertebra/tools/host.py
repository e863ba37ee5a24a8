"""The tool host: the process that runs unread code in the sandbox. It holds no key, no database, no Temporal address.

It is given one job per connection of a Unix socket, runs a few at a time, and knows nothing but the job. Closing the
connection kills the job; closing its standard input, or the death of its parent, ends the host and every job.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import stat
import struct
import sys
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from vertebra.schemas.errors import SandboxUnavailable, SettingsError
from vertebra.schemas.tool import Job, JobAnswer, JobError
from vertebra.tools.frames import BadFrame, read_frame, write_frame
from vertebra.tools.sandbox import bwrap
from vertebra.tools.sandbox.probe import Probed, probe

_JOBS = 4
_REMEMBERED = 100_000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class _Used:
    """The ids of past jobs, the oldest forgotten first."""

    ids: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def claim(self, job_id: str) -> bool:
        if job_id in self.ids:
            return False
        self.ids[job_id] = None
        if len(self.ids) > _REMEMBERED:
            self.ids.popitem(last=False)
        return True


class Host:
    """Answers connections with what the sandbox makes of their jobs."""

    def __init__(self, probed: Probed, at_once: int) -> None:
        self._probed = probed
        self._turns = asyncio.Semaphore(at_once)
        self._used = _Used()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one job, one answer."""
        try:
            if _is_ours(writer):
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, BadFrame) as error:
            print(f"a connection ended early: {type(error).__name__}", file=sys.stderr)  # noqa: T201 - its only log
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            job = Job.model_validate_json(await read_frame(reader))
        except ValidationError:
            await _send(writer, _refused("the job cannot be read"))
            return
        if not self._used.claim(job.id):
            await _send(writer, _refused("a job of this id has run before"))
            return
        answer = await _unless_gone(reader, self._run(job))
        if answer is not None:
            await _send(writer, answer)

    async def _run(self, job: Job) -> JobAnswer:
        try:
            async with self._turns:
                return await self._probed.require().run(job)
        except SandboxUnavailable as error:
            return JobAnswer(error=JobError(type="SandboxUnavailable", message=str(error)))


async def run_host(place: Path, path: str, python: str | None, at_once: int) -> None:
    """Probe, listen at `place`, say the probe's report on standard output, serve until standard input ends."""
    _check_folder(place.parent)
    probed = await probe(path, python)
    host = Host(probed, at_once)
    server = await asyncio.start_unix_server(host.serve, place)
    sys.stdout.write(probed.report.model_dump_json() + "\n")
    sys.stdout.flush()
    await _standard_input_ends()
    server.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tool host from the command line."""
    parser = argparse.ArgumentParser(prog="vertebra.tools.host", description="Run tools in the sandbox.")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen; its folder must be 0700")
    parser.add_argument("--path", default=bwrap.SEARCH_PATH, help="where bwrap and prlimit are looked for")
    parser.add_argument("--python", help="the interpreter inside the sandbox")
    parser.add_argument("--jobs", type=int, default=_JOBS, help="how many run at once")
    parser.add_argument("--parent", type=int, help="die with this process")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        die_with(options.parent)
    asyncio.run(run_host(options.socket, options.path, options.python, options.jobs))


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent is gone; ends it if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent has gone")


async def _unless_gone(reader: asyncio.StreamReader, run: Coroutine[None, None, JobAnswer]) -> JobAnswer | None:
    """The answer, or None if the other side closed its connection first: then the job is killed."""
    work = asyncio.ensure_future(run)
    gone = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _send(writer: asyncio.StreamWriter, answer: JobAnswer) -> None:
    await write_frame(writer, answer.model_dump_json().encode())


def _refused(reason: str) -> JobAnswer:
    return JobAnswer(error=JobError(type="Refused", message=reason))


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side is a process of the same user: the folder keeps others out, this is the second lock."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", peer)[1] == os.geteuid())


def _check_folder(folder: Path) -> None:
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        raise SettingsError(f"the folder {str(folder)!r} is open to other users", do=f"chmod 700 {folder}")


async def _standard_input_ends() -> None:
    """Wait until the parent closes the pipe, on purpose or by dying."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass


if __name__ == "__main__":
    main()
