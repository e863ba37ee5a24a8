"""Reading a log while it is written, over the change of its file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from vertebra.services.log_reader import LogReader
from vertebra.services.logfile import LogFile


def test_every_line_is_read_once_over_rotations(tmp_path: Path) -> None:
    """A file that was put aside between two looks loses no line, and a half line waits for its end."""
    log, reader = LogFile(tmp_path / "worker.log", limit_bytes=400), LogReader(tmp_path / "worker.log")
    found: list[str] = []
    for number in range(60):
        log.write(f"line {number}\nhalf ".encode())
        found += reader.read()
        log.write(f"of {number}\n".encode())
        if number % 3 == 0:
            found += reader.read()
    found += reader.read()
    reader.close()

    assert [text for n in range(60) for text in (f"line {n}", f"half of {n}")] == found


def test_what_was_put_aside_comes_first(tmp_path: Path) -> None:
    """The older file, then the newer one; none at all is no error."""
    reader = LogReader(tmp_path / "none.log")
    log = LogFile(tmp_path / "worker.log", limit_bytes=30)
    for number in range(4):
        log.write(f"line number {number}\n".encode())

    assert [] == list(reader.read())
    with closing(LogReader(tmp_path / "worker.log")) as both:
        assert ["line number 2", "line number 3"] == list(both.read())[-2:]
