"""Ends the children of a supervisor that died without ending them: on every system, stubborn ones too.

Run as a program. It reads `+PID` and `-PID` lines from its standard input; when that ends, the supervisor is gone.
Standard library only, so that it starts at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_PATIENCE_S = 5.0


def main() -> None:
    """Follow the lines until they end, then end every process group that is left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            groups.add(pid)
        else:
            groups.discard(pid)
    _end(groups)


def _end(groups: set[int]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    alive = {group for group in groups if _signal(group, signal.SIGINT)}
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = {group for group in alive if _signal(group, 0)}
    for group in alive:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether the group was there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
