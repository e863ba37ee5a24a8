"""One call of one tool, wherever it runs: check the arguments, run it within its time, check the answer."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Mapping

from pydantic import JsonValue

from vertebra.schemas.canonical import json_text
from vertebra.schemas.errors import JobFailed, SandboxUnavailable, ToolTimeout
from vertebra.schemas.tool import Job, Limits, ToolResult, ToolSpec
from vertebra.tools.checks import check_arguments, check_output
from vertebra.tools.context import ToolContext
from vertebra.tools.contract import Tool
from vertebra.tools.host_client import ToolHost


async def call_tool(
    tool: Tool,
    arguments: JsonValue,
    context: ToolContext,
    *,
    host: ToolHost | None,
    job_id: str,
    secrets: Mapping[str, str] | None = None,
) -> ToolResult:
    """Run the tool. `job_id` is new at every attempt; `host` None = this worker runs no code of others.

    Raises ToolError: BadArguments, ToolTimeout, JobFailed, SandboxUnavailable, BadToolOutput are answers that a model
    may read (`ToolResult.failed`); ToolHostLost is a lost attempt.
    """
    check_arguments(tool.spec, arguments)
    if tool.spec.runs == "sandbox":
        return await _in_sandbox(tool, arguments, host, job_id, secrets or {})
    value = await _in_worker(tool, arguments, context)
    check_output(tool.spec, value)
    return ToolResult.answered(value)


async def _in_worker(tool: Tool, arguments: JsonValue, context: ToolContext) -> JsonValue:
    try:
        async with asyncio.timeout(tool.spec.timeout_s):
            return await tool.call(arguments, context)
    except TimeoutError:
        raise ToolTimeout(f"{tool.name!r} took longer than {tool.spec.timeout_s} s", tool=tool.name) from None
    except OSError as error:
        # the machine's trouble, such as a full disk, is an outcome; without one the worker would seem to have died
        why = error.strerror or type(error).__name__  # not the whole error: it may name paths and addresses
        raise JobFailed(f"{tool.name!r}: {why}", tool=tool.name, kind=type(error).__name__) from error


async def _in_sandbox(
    tool: Tool, arguments: JsonValue, host: ToolHost | None, job_id: str, secrets: Mapping[str, str]
) -> ToolResult:
    if host is None:
        raise SandboxUnavailable(f"{tool.name!r} runs code, and this worker has no tool host")
    return await _run(host, make_job(tool, arguments, job_id, secrets), tool.spec)


async def call_project_tool(
    spec: ToolSpec, source: str, arguments: JsonValue, *, host: ToolHost | None, job_id: str
) -> ToolResult:
    """Run a tool of a project from the text that its pin names. Raises as `call_tool` does."""
    check_arguments(spec, arguments)
    if host is None:
        raise SandboxUnavailable(f"{spec.name!r} runs code, and this worker has no tool host")
    job = Job(
        id=job_id,
        tool=spec.name,
        function=spec.function or spec.name,
        source=source,
        arguments=json_text(arguments),
        limits=Limits(wall_s=spec.timeout_s, cpu_s=min(10, spec.timeout_s)),
    )
    return await _run(host, job, spec)


async def _run(host: ToolHost, job: Job, spec: ToolSpec) -> ToolResult:
    answer = await host.run(job, spec)
    value: JsonValue = json.loads(answer.answer or "null")
    return ToolResult(ok=True, value=value, printed=answer.printed)


def make_job(tool: Tool, arguments: JsonValue, job_id: str, secrets: Mapping[str, str]) -> Job:
    """The job of one attempt: the tool's file, checked arguments, and of the secrets only those that it declares."""
    return Job(
        id=job_id,
        tool=tool.name,
        function=tool.function.__name__,
        source=inspect.getsource(inspect.getmodule(tool.function) or tool.function),
        arguments=json_text(arguments),
        secrets={name: secrets[name] for name in tool.spec.secrets if name in secrets},
        limits=Limits(wall_s=tool.spec.timeout_s, cpu_s=min(10, tool.spec.timeout_s)),
    )
