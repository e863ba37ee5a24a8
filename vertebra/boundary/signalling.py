"""Signals to our own child processes, without asking how they are.

`Process.kill()`, `terminate()` and `send_signal()` of asyncio ask for the child's status first. Where it has just ended
they may take that status from the watcher that waits for it, which then writes `Unknown child process` and never learns
how the child ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
from asyncio.subprocess import Process


def send(process: Process, number: signal.Signals) -> None:
    """Signal a child; nothing where it has ended. Its id is its own until the watcher has its status."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def kill(process: Process) -> None:
    """End a child at once."""
    send(process, signal.SIGKILL)
