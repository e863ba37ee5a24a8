"""The tool host as a real process with the real sandbox: what it runs, how it dies, what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

import vertebra
from vertebra.schemas.errors import BadToolOutput, JobFailed, SandboxUnavailable, ToolHostLost, ToolTimeout
from vertebra.schemas.tool import Job, Limits, ToolResult, ToolSpec
from vertebra.tools.call import call_tool
from vertebra.tools.context import ToolContext
from vertebra.tools.host_client import ToolHost
from vertebra.tools.registry import builtin

needs_sandbox = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)"
)
SPEC = ToolSpec(
    name="demo",
    description="d",
    input_schema={},
    output_schema={"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False},
    effect="pure",
    runs="sandbox",
    secrets=("token",),
)


def job(body: str, job_id: str, **limits: Any) -> Job:
    """A job whose tool is a function of these lines."""
    source = "import os, sys, time\ndef demo(secrets={}):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return Job(id=job_id, tool="demo", function="demo", source=source, arguments="{}", limits=Limits(**limits))


@pytest.fixture
async def host() -> AsyncIterator[ToolHost]:
    async with ToolHost() as running:
        assert running.report.level == "standard", running.report.reason
        yield running


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(idempotency_key="K", project=tmp_path, maildir=tmp_path)


def alive(marker: str) -> list[int]:
    """The processes whose command line holds the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not happen within a minute")


async def until_gone(marker: str) -> None:
    await until(lambda: not alive(marker))


async def until_there(marker: str) -> None:
    await until(lambda: bool(alive(marker)))


def lives(pid: int) -> bool:
    return Path("/proc", str(pid)).exists()


def environment(pid: int | None) -> bytes:
    return Path("/proc", str(pid), "environ").read_bytes()


def sleeper(marker: str) -> str:
    """Code that starts a process which a `ps` shows under the marker, and waits for ever."""
    return f"import subprocess\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', '{marker}'])"


@needs_sandbox
async def test_python_runs_in_the_sandbox(host: ToolHost, context: ToolContext) -> None:
    """The built-in `python` tool answers with output and value, checked against its schema."""
    result = await call_tool(
        builtin().get("python"), {"code": "print('hi')\n17 * 23"}, context, host=host, job_id="python-1"
    )

    assert result == ToolResult.answered({"stdout": "hi\n", "value": 391})


@needs_sandbox
async def test_a_failing_code_is_an_answer_that_a_model_can_read(host: ToolHost, context: ToolContext) -> None:
    """An exception comes back with its name, message, line, and what was printed before it."""
    arguments: JsonValue = {"code": "print('so far')\n1 / 0"}

    with pytest.raises(JobFailed, match="ZeroDivisionError: division by zero") as caught:
        await call_tool(builtin().get("python"), arguments, context, host=host, job_id="python-2")

    content = json.dumps(ToolResult.failed(caught.value).content)
    assert "so far" in content
    assert "line 2" in content


@needs_sandbox
async def test_the_host_has_an_empty_environment(host: ToolHost) -> None:
    """The host inherits no variable: no key, no address, no folder."""
    assert environment(host.pid) == b""


@needs_sandbox
async def test_secrets_reach_only_the_tool_that_declares_them(host: ToolHost) -> None:
    """A job carries the secrets named for it, through a pipe, not in arguments or environment."""
    with_secret = job("return {'text': secrets['token'] + ' '.join(os.environ)}", "s").model_copy(
        update={"secrets": {"token": "canary"}}
    )

    answer = await host.run(with_secret, SPEC)

    assert "canary" in (answer.answer or "")
    assert "canary" not in repr(with_secret)


@needs_sandbox
async def test_a_job_id_is_used_once(host: ToolHost) -> None:
    """The second job of an id is refused, whatever it holds."""
    await host.run(job("return {}", "same"), SPEC)

    with pytest.raises(JobFailed, match="has run before"):
        await host.run(job("return {'text': 'again'}", "same"), SPEC)


@needs_sandbox
@pytest.mark.parametrize(
    "body",
    [
        "return {'text': 1}",
        "return {'other': 'x'}",
        "return 'text'",
        "os.write(3, b'ok\\n{\"text\": NaN}'); os._exit(0)",
        'os.write(3, b\'ok\\n{"text": "a", "text": "b"}\'); os._exit(0)',
        "os.write(3, b'ok\\n' + b'[' * 100000); os._exit(0)",
        "os.write(3, b'ok\\n\"\\\\ud800\"'); os._exit(0)",
    ],
)
async def test_an_answer_that_breaks_the_schema_is_refused(host: ToolHost, body: str) -> None:
    """The worker distrusts what comes back: wrong types, NaN, equal keys, deep nesting, surrogates."""
    with pytest.raises(BadToolOutput):
        await host.run(job(body, f"bad-{hash(body)}"), SPEC)


@needs_sandbox
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("os.write(3, b'ok\\n\\xff\\xfe'); os._exit(0)", "BadAnswer"),
        ("os.write(3, b'error\\nnonsense'); os._exit(0)", "BadAnswer"),
        ("os._exit(7)", "Killed"),
        ("os.kill(os.getpid(), 9)", "Killed"),
        ("return {'text': 'x' * 2_000_000}", "TooMuchOutput"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
async def test_no_readable_answer_is_a_named_failure(host: ToolHost, body: str, kind: str) -> None:
    """A tool that dies, babbles or says too much fails by name, and the host goes on."""
    with pytest.raises(JobFailed) as caught:
        await host.run(job(body, f"none-{hash(body)}"), SPEC)

    assert caught.value.kind == kind
    assert (await host.run(job("return {}", f"after-{hash(body)}"), SPEC)).answer == "{}"


@needs_sandbox
async def test_a_job_has_its_time(host: ToolHost) -> None:
    """A job that outlives its wall clock is killed with everything that it started."""
    with pytest.raises(ToolTimeout, match="longer than 1 s"):
        await host.run(job(sleeper("vt-overtime"), "slow", wall_s=1), SPEC)

    await until_gone("vt-overtime")


@needs_sandbox
async def test_a_job_has_its_processor_time(host: ToolHost) -> None:
    """A job that computes for too long reads of that, and not of a number."""
    with pytest.raises(JobFailed, match=r"'demo': Killed: it used more processor time than it may$"):
        await host.run(job("while True: pass", "spins", cpu_s=1, wall_s=60), SPEC)


@needs_sandbox
async def test_a_cancelled_call_kills_its_job(host: ToolHost) -> None:
    """Cancelling the call closes the connection, and the host kills the job's tree."""
    call = asyncio.create_task(host.run(job(sleeper("vt-cancelled"), "cancelled"), SPEC))
    await until_there("vt-cancelled")

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await until_gone("vt-cancelled")


@needs_sandbox
async def test_a_killed_host_is_a_lost_attempt_and_comes_back(host: ToolHost) -> None:
    """SIGKILL of the host ends its jobs at once, tells the caller, and the next job runs on a new host."""
    call = asyncio.create_task(host.run(job(sleeper("vt-orphan"), "lost"), SPEC))
    await until_there("vt-orphan")
    killed = host.pid
    assert killed is not None

    os.kill(killed, signal.SIGKILL)

    with pytest.raises(ToolHostLost):
        await call
    await until_gone("vt-orphan")
    await until(lambda: host.pid not in (None, killed))
    assert (await host.run(job("return {'text': 'back'}", "lost"), SPEC)).answer == '{"text": "back"}'
    assert host.pid != killed


async def test_a_host_that_cannot_be_started_again_is_tried_until_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without room for a process just then costs some time, and not every later job."""
    async with ToolHost(path="/nowhere") as host:
        killed = host.pid
        assert killed is not None
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            os.kill(killed, signal.SIGKILL)
            await until(lambda: "does not start" in (host.report.reason or ""))

        await until(lambda: host.pid is not None)

        assert killed != host.pid


@needs_sandbox
async def test_many_jobs_take_turns(host: ToolHost) -> None:
    """Twelve jobs at once all end, though only four run at a time."""
    answers = await asyncio.gather(*[host.run(job("return {'text': 'x'}", f"many-{n}"), SPEC) for n in range(12)])

    assert len(answers) == 12


@needs_sandbox
async def test_the_host_dies_with_its_worker() -> None:
    """SIGKILL of the worker leaves neither a host nor a job behind."""
    root = Path(vertebra.__file__).parent.parent
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _WORKER), cwd=root, stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": str(root)}
    )
    assert worker.stdout is not None
    host_pid = int(await worker.stdout.readline())
    await until_there("vt-widow")

    worker.kill()
    await worker.wait()

    await until_gone("vt-widow")
    await until(lambda: not lives(host_pid))


_WORKER = """
import asyncio
from vertebra.schemas.tool import Job, ToolSpec
from vertebra.tools.host_client import ToolHost
SOURCE = '''
import subprocess, sys
def demo(): subprocess.run([sys.executable, "-c", "import time; time.sleep(600)", "vt-wi" + "dow"])
'''
async def main():
    async with ToolHost() as host:
        print(host.pid, flush=True)
        spec = ToolSpec(name="demo", description="d", input_schema={}, output_schema={}, effect="pure", runs="sandbox")
        await host.run(Job(id="1", tool="demo", function="demo", source=SOURCE, arguments="{}"), spec)
asyncio.run(main())
"""


async def test_without_bwrap_code_is_refused_and_the_rest_works(context: ToolContext) -> None:
    """With the sandbox binary out of reach `python` is refused with the reason and the package; search_docs works."""
    async with ToolHost(path="/nowhere") as host:
        with pytest.raises(SandboxUnavailable, match=r"no 'bwrap' in /nowhere; install the package 'bubblewrap'"):
            await call_tool(builtin().get("python"), {"code": "1"}, context, host=host, job_id="1")
        found = await call_tool(builtin().get("search_docs"), {"query": "x"}, context, host=host, job_id="2")

    assert host.report.level is None
    assert found.ok


async def test_a_worker_without_a_host_refuses_code(context: ToolContext) -> None:
    """A worker that was given no tool host says so; it never runs the code itself."""
    with pytest.raises(SandboxUnavailable, match="no tool host"):
        await call_tool(builtin().get("python"), {"code": "1"}, context, host=None, job_id="1")


async def test_a_wrong_interpreter_is_a_reason() -> None:
    """An interpreter that does not exist is named, with the setting that names it."""
    async with ToolHost(python="/opt/no/python") as host:
        assert "VERTEBRA_SANDBOX_PYTHON" in (host.report.reason or "")


def test_an_open_folder_is_refused(tmp_path: Path) -> None:
    """The host does not listen in a folder that others may enter."""
    tmp_path.chmod(0o755)
    root = Path(vertebra.__file__).parent.parent

    command = [sys.executable, "-m", "vertebra.tools.host", "--socket", str(tmp_path / "s")]
    ended = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    assert "chmod 700" in ended.stderr
    assert not (tmp_path / "s").exists()
