"""The program that runs a tool inside the sandbox: standard library only, read as text and never imported outside.

It gets the job as JSON on standard input and answers on standard output: `ok` or `error`, a line feed, JSON. Whatever
the tool prints goes to standard error. A tool can forge its own answer, nothing else: the answer is checked outside.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import io
import json
import os
import sys
import traceback
import types
from collections.abc import Callable

_MESSAGE_CHARS = 2000


class Forked(Exception):
    """The file's code would go on in two processes, both of which answer."""


def main() -> None:
    own = os.getpid()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = json.load(sys.stdin.buffer)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    try:
        answer = b"ok\n" + _run(job, own)
    except BaseException as error:
        traceback.print_exception(error, limit=-3)
        answer = b"error\n" + json.dumps({"type": type(error).__name__, "message": _message(error)}).encode()
    _end_copy(own)
    answers.write(answer)
    answers.flush()
    sys.stderr.flush()
    os._exit(0)  # threads and exit hooks of the tool have no say


def _end_copy(own: int) -> None:
    """End a process that the tool forked and let go on: only the one that was given the job answers."""
    if os.getpid() != own:
        os._exit(1)


def _run(job: dict[str, str], own: int) -> bytes:
    _install_contract()
    module = types.ModuleType("tool")
    sys.modules["tool"] = module  # dataclasses look their module up
    forks: list[None] = []
    os.register_at_fork(after_in_parent=lambda: forks.append(None))
    exec(compile(job["source"], f"{job['tool']}.py", "exec"), module.__dict__)  # noqa: S102 - this is the sandbox
    _end_copy(own)
    if forks:
        raise Forked("its code forks a process while it is loaded, so that it goes on twice; fork inside the function")
    function = getattr(module, job["function"])
    values = json.loads(job["arguments"])
    if "secrets" in inspect.signature(function).parameters:
        values["secrets"] = job["secrets"]
    result = function(**values)
    if inspect.isawaitable(result):
        result = asyncio.run(_awaited(result))
    return json.dumps(result, default=_plain, allow_nan=False).encode()


async def _awaited(result: object) -> object:
    return await result  # type: ignore[misc] # only called for awaitables


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"the answer holds a {type(value).__name__}, which is no JSON")


def _message(error: BaseException) -> str:
    return str(error)[:_MESSAGE_CHARS]


def _install_contract() -> None:
    """A tool's file imports its decorator; here that changes nothing, so no package is needed inside."""
    contract = types.ModuleType("vertebra.tools.contract")
    contract.__dict__.update(tool=_tool, JsonValue=object, ToolContext=object)
    for name in ("vertebra", "vertebra.tools"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[contract.__name__] = contract


def _tool(**_terms: object) -> Callable[[object], object]:
    return lambda function: function


if __name__ == "__main__":
    main()
