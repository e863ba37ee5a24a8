"""The program that runs inside the sandbox, without the sandbox around it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vertebra.tools import sandbox

FOLDER = Path(sandbox.__file__).parent
FORKS = "import os, time\nif os.fork() == 0:\n    WAIT\n"
PLAIN = "def plain():\n    return 'first'\n"
COPIES = """
import os, time
def plain():
    if os.fork() == 0:
        WAIT
        return "copy"
    FIRST
    return "first"
"""
WAITS = pytest.mark.parametrize("wait", ["pass", "time.sleep(0.1)"])


def run(code: str, function: str = "plain", **arguments: str) -> tuple[str, Any]:
    """How a job ends: `ok` or `error`, and the one value that is answered."""
    job = {"source": code, "tool": "t", "function": function, "arguments": json.dumps(arguments), "secrets": {}}
    program = [sys.executable, "-I", str(FOLDER / "inside.py")]
    ended = subprocess.run(program, input=json.dumps(job).encode(), capture_output=True, timeout=60, check=True)
    status, _, answer = ended.stdout.decode().partition("\n")
    return status, json.loads(answer)


@WAITS
def test_code_that_forks_while_it_is_loaded_is_told_so(wait: str) -> None:
    """Whichever of the two processes is first at the end: one answer, in plain words."""
    status, told = run(FORKS.replace("WAIT", wait) + PLAIN)

    assert ("error", "Forked") == (status, told["type"])
    assert "its code forks a process while it is loaded" in told["message"]


@WAITS
def test_a_copy_that_comes_to_the_end_does_not_answer(wait: str) -> None:
    """A function may fork; the answer is that of the process that was given the job."""
    body = COPIES.replace("WAIT", wait).replace("FIRST", "os.wait()" if wait == "pass" else "pass")

    assert ("ok", "first") == run(body)


@WAITS
def test_the_report_of_a_file_tells_the_line_that_forks(wait: str) -> None:
    """Whoever checks a project reads it before a run does."""
    describe = (FOLDER / "describe.py").read_text()

    status, told = run(describe, "describe", source=FORKS.replace("WAIT", wait) + PLAIN, file="tools/t.py")

    assert ("ok", 2) == (status, told["error"]["line"])
    assert "it forks a process while it is loaded" in told["error"]["message"]
