"""The output of a child in a file of bounded size, its last lines also in memory."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

LIMIT_BYTES = 4 * 1024 * 1024
_TAIL_LINES = 40
_LINE_CHARS = 400


class LogFile:
    """Two files at most, `NAME.log` and the older `NAME.log.1`. A full disk loses lines, never the child."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit = limit_bytes
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.lost_bytes = 0
        """What the disk did not take."""

    def write(self, data: bytes) -> None:
        """Append output as it came."""
        self._remember(data)
        try:
            self._append(data)
        except OSError:
            self.lost_bytes += len(data)

    def note(self, text: str) -> None:
        """Append a line of our own."""
        self.write(f"-- vertebra: {text}\n".encode())

    def tail(self, lines: int = 12) -> str:
        """The last lines, the unfinished one included."""
        rest = [self._rest.decode(errors="replace")] if self._rest else []
        return "\n".join([*self._tail, *rest][-lines:])

    def forget(self) -> None:
        """Empty the memory: what follows belongs to a new process."""
        self._tail.clear()
        self._rest = b""

    def _remember(self, data: bytes) -> None:
        *whole, rest = (self._rest + data).split(b"\n")
        self._tail.extend(line.decode(errors="replace")[:_LINE_CHARS] for line in whole)
        self._rest = rest[-_LINE_CHARS:]

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if size + len(data) > self._limit:
            os.replace(self.path, self.path.with_name(self.path.name + ".1"))
