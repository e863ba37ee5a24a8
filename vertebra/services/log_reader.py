"""Reads what `logfile` writes: the lines of both files, and new ones as they come, across the change of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MOST_BYTES = 1024 * 1024
"""Of one line; what is longer is cut there."""


class LogReader:
    """The lines of one child's log. `read` gives what has come since it was called last, whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._begun = False

    def read(self) -> Iterator[str]:
        """New lines, without their ends. The first time, all that is kept."""
        if not self._begun:
            self._begun = True
            yield from self._older()
        while True:
            yield from self._drain()
            if not self._moved_on():
                return

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _older(self) -> Iterator[str]:
        try:
            with self.path.with_name(self.path.name + ".1").open("rb") as file:
                yield from (line.rstrip(b"\n")[:_MOST_BYTES].decode(errors="replace") for line in file)
        except FileNotFoundError:
            return

    def _drain(self) -> Iterator[str]:
        if self._file is None and not self._open():
            return
        assert self._file is not None
        while data := self._file.read(_MOST_BYTES):
            *whole, self._rest = (self._rest + data).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
            if len(self._rest) > _MOST_BYTES:
                yield self._rest.decode(errors="replace")
                self._rest = b""

    def _open(self) -> bool:
        try:
            self._file = self.path.open("rb")
        except FileNotFoundError:
            return False
        return True

    def _moved_on(self) -> bool:
        """Whether the file was put aside for a new one; then that one is read from its beginning."""
        if self._file is None:
            return False
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return False  # put aside, and nothing has been written since
        mine = os.fstat(self._file.fileno())
        if (now.st_dev, now.st_ino) == (mine.st_dev, mine.st_ino):
            return False
        self.close()
        return True
