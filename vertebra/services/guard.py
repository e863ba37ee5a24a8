"""Our end of the watchdog: it is told of every child, and ends them all when its input ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from vertebra.services import watchdog
from vertebra.services.process import Watch

_STOP_TIMEOUT_S = 15.0


class Guard(Watch):
    """Starts the watchdog, and another one should it be killed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called after every start of a child."""
        self._changed = changed
        self._pids: set[int] = set()
        self._watchdog = _start()

    def started(self, pid: int) -> None:
        self._pids.add(pid)
        self._tell(f"+{pid}")
        self._changed()

    def ended(self, pid: int) -> None:
        self._pids.discard(pid)
        self._tell(f"-{pid}")

    def close(self) -> None:
        """Let the watchdog go. Children that still run are ended by it."""
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait(_STOP_TIMEOUT_S)

    def _tell(self, line: str) -> None:
        try:
            _write(self._watchdog, line)
        except BrokenPipeError:
            self.close()
            self._watchdog = _start()
            for pid in sorted(self._pids):
                _write(self._watchdog, f"+{pid}")


def _start() -> subprocess.Popen[bytes]:
    program = Path(watchdog.__file__)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(program)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={},
    )


def _write(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
