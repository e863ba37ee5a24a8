"""Evaluates conditions in a guarded child process: an expression can take all memory or crash the library it runs in.

One child serves a process, one request at a time. What an expression does to it costs that expression an error and the
child its life; the next request gets a new one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vertebra.boundary.signalling import kill
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadJson, ChildLost, ConditionError, SettingsError
from vertebra.schemas.strict_json import check_value

CPU_S = 0.45
"""Processor time of one evaluation; on an idle machine a runaway so ends within 0.5 s."""
WALL_S = 5.0
"""Without an answer in this time the machine stalls, not the expression: the child is replaced, the caller told."""
MEMORY_BYTES = 1 << 30
MAX_FACTS = 1_000_000
_START_S = 30.0
_WORKER = Path(__file__).with_name("cel_worker.py")
_DEATHS = {
    signal.SIGPROF: f"it takes longer than {CPU_S} s",
    signal.SIGABRT: "it needs too much memory",
    signal.SIGSEGV: "it crashes the evaluator",
    signal.SIGBUS: "it crashes the evaluator",
    signal.SIGILL: "it crashes the evaluator",
}


@dataclass(frozen=True)
class CelRequest:
    """An expression and the values that it is about."""

    source: str
    """The evaluation source that the check gave."""
    facts: Mapping[str, Json]
    """Nested maps by first name: `{"state": {"total": 1.0}, "tool": "python"}`."""
    reads: tuple[str, ...] = ()
    """The dotted paths that it may read; their first names exist even where `facts` leaves them out."""


@dataclass(frozen=True)
class CelAnswer:
    """The value, or why there is none. An error is neither true nor false: `truth` tells it."""

    value: Json = None
    error: str | None = None

    def truth(self, text: str, at: object = None) -> bool:
        """The value as true or false. Raises ConditionError, which shows the condition's `text`."""
        if self.error is not None:
            raise ConditionError(f"the condition {text!r} has no value: {self.error}", at=at)
        if not isinstance(self.value, bool):
            raise ConditionError(f"the condition {text!r} gives neither true nor false", at=at)
        return self.value


class CelChild:
    """The child, as an async context. `evaluate` may be called at once from many tasks; each gets its turn."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._starting: asyncio.Task[Process] | None = None

    async def __aenter__(self) -> CelChild:
        self._process = await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._turn:
            if self._starting is not None:
                self._starting.cancel()
                await asyncio.gather(self._starting, return_exceptions=True)
            await self._end()

    async def evaluate(self, requests: Sequence[CelRequest], within_s: float | None = None) -> list[CelAnswer]:
        """One answer a request, in order. Raises ChildLost where the machine, not an expression, is at fault.

        `within_s` is for all together, from the first one's turn: once an expression has ended the child, the rest is
        given up at that time, so that many runaways cannot take longer than the caller waits.
        """
        lines = [_line(request) for request in requests]
        answers: list[CelAnswer] = [line if isinstance(line, CelAnswer) else CelAnswer() for line in lines]
        todo = [(index, line) for index, line in enumerate(lines) if isinstance(line, bytes)]
        async with self._turn:
            done = await self._all([line for _, line in todo], within_s)
        for (index, _), answer in zip(todo, done, strict=True):
            answers[index] = answer
        return answers

    async def _all(self, lines: list[bytes], within_s: float | None) -> list[CelAnswer]:
        done: list[CelAnswer] = []
        if not lines:
            return done
        self._process = self._process or await self._restarted()
        began = asyncio.get_running_loop().time()
        await self._round(lines, done)
        if len(done) == len(lines):
            return done
        # an expression ended the child: from here on expressions, not the machine, are to blame for the time
        left_s = None if within_s is None else max(0.0, began + within_s - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(left_s):
                while len(done) < len(lines):
                    await self._round(lines[len(done) :], done)
        except TimeoutError:
            left = len(lines) - len(done)
            done += [CelAnswer(error=f"it was given up: the conditions together took over {within_s} s")] * left
        return done

    async def _restarted(self) -> Process:
        """A child in place of one that ended. Raises ChildLost where none starts: the machine is at fault."""
        try:
            return await self._ready()
        except SettingsError as error:
            raise ChildLost(str(error)) from error

    async def _ready(self) -> Process:
        """A child that is ready. Who stops waiting does not stop its start: the next one finds it further on."""
        if self._starting is None:
            self._starting = asyncio.create_task(_started(), name="start of the CEL child")
        try:
            process = await asyncio.shield(self._starting)
        except BaseException:
            if self._starting.done():
                self._starting = None
            raise
        self._starting = None
        return process

    async def _round(self, lines: list[bytes], answers: list[CelAnswer]) -> None:
        """Add the answers to the first requests: to all of them, or up to the one that ended the child."""
        self._process = self._process or await self._restarted()
        try:
            await self._exchange(self._process, lines, answers)
        except (ConnectionError, EOFError):
            answers.append(CelAnswer(error=await self._cause_of_death()))
        except BaseException:
            # Answers of a broken off round must not be taken for those of the next.
            await self._end()
            raise

    async def _exchange(self, process: Process, lines: list[bytes], answers: list[CelAnswer]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(lines))
        for _ in lines:
            try:
                async with asyncio.timeout(WALL_S):
                    line = await process.stdout.readline()
            except TimeoutError:
                raise ChildLost(f"the CEL child gave no answer in {WALL_S} s") from None
            if not line.endswith(b"\n"):
                raise EOFError
            good, value = json.loads(line)
            answers.append(CelAnswer(value=value) if good else CelAnswer(error=value))

    async def _cause_of_death(self) -> str:
        process, self._process = self._process, None
        assert process is not None
        status = await _ended(process, grace_s=1)
        cause = _DEATHS.get(signal.Signals(-status)) if status < 0 else None
        if cause is None:
            raise ChildLost(f"the CEL child ended from outside, with status {status}")
        return cause

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await _ended(process)


async def _ended(process: Process, grace_s: float = 0) -> int:
    """End the child and give its status: its own one, where it ends by itself within the grace."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        kill(process)
    return await process.wait()


def _line(request: CelRequest) -> bytes | CelAnswer:
    """The line that asks for it, or the answer where its facts are no plain, small values."""
    facts = dict(request.facts)
    for read in request.reads:
        root, dot, _ = read.partition(".")
        if dot:
            facts.setdefault(root, {})
    names = sorted(set(facts) | {read.partition(".")[0] for read in request.reads})
    try:
        check_value(facts, at="facts")
        line = json.dumps([request.source, names, facts]).encode() + b"\n"
    except BadJson as error:
        return CelAnswer(error=f"its values cannot be given to it: {error}")
    if len(line) > MAX_FACTS:
        return CelAnswer(error=f"its values are larger than {MAX_FACTS} bytes")
    return line


async def _started() -> Process:
    """A child that is ready. Raises SettingsError where none starts."""
    found = importlib.util.find_spec("cel_expr_python")
    if found is None or not found.submodule_search_locations:
        raise SettingsError("the CEL library is not installed", do="pip install cel-expr-python")
    site_packages = Path(next(iter(found.submodule_search_locations))).parent
    arguments = [str(site_packages), str(os.getpid()), str(CPU_S), str(MEMORY_BYTES)]
    command = [sys.executable, "-I", "-S", str(_WORKER), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, limit=2 * MAX_FACTS
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            ready = await process.stdout.readline()
    except BaseException:
        kill(process)
        await process.wait()
        raise
    if ready != b"ready\n":
        await process.wait()
        raise SettingsError(f"the CEL child does not start (status {process.returncode})", do=f"run {_WORKER} by hand")
    return process
