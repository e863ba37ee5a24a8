"""Only its watcher asks for a child's status, whoever ends it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vertebra
from vertebra.boundary.signalling import kill, send

PACKAGE = Path(vertebra.__file__).parent


async def test_a_signal_asks_for_no_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks beside the watcher may get the status instead of it. A child that has ended is signalled no more."""
    asked: list[int] = []
    monkeypatch.setattr(subprocess.Popen, "poll", lambda child: asked.append(child.pid))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")

    send(process, signal.SIGCONT)
    kill(process)
    ended = await process.wait()
    kill(process)

    assert (-signal.SIGKILL, []) == (ended, asked)


def test_nobody_signals_children_in_another_way() -> None:
    """The methods of asyncio's processes ask first."""
    asking = re.compile(r"\b(process|proc|popen|child|running)\.(kill|terminate|send_signal)\(")

    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if asking.search(line)
    ]

    assert [] == found
