"""The bounded log of a child."""

from __future__ import annotations

from pathlib import Path

from vertebra.services.logfile import LogFile


def test_the_files_are_bounded(tmp_path: Path) -> None:
    """However much a child says, two files of about the limit remain."""
    log = LogFile(tmp_path / "a.log", limit_bytes=1_000)

    for number in range(500):
        log.write(f"line {number} {'x' * 30}\n".encode())

    assert {"a.log", "a.log.1"} == {file.name for file in tmp_path.iterdir()} | {"a.log"}
    assert all(file.stat().st_size < 1_100 for file in tmp_path.iterdir())
    assert log.tail(1).startswith("line 499 ")


def test_the_log_is_private(tmp_path: Path) -> None:
    """Nobody else reads what a service says."""
    LogFile(tmp_path / "a.log").write(b"x\n")

    assert 0o600 == (tmp_path / "a.log").stat().st_mode & 0o777


def test_the_tail_joins_pieces_of_a_line(tmp_path: Path) -> None:
    """A line that comes in two pieces is one line, and an unfinished one counts."""
    log = LogFile(tmp_path / "a.log")

    log.write(b"one\ntw")
    log.write(b"o\nthr")

    assert "one\ntwo\nthr" == log.tail()


def test_a_disk_that_takes_nothing_loses_lines_only(tmp_path: Path) -> None:
    """The child goes on when its log cannot be written, and its last lines are still known."""
    log = LogFile(tmp_path / "missing" / "a.log")

    log.write(b"hello\n")

    assert "hello" == log.tail()
    assert 6 == log.lost_bytes
