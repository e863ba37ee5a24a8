"""One supervised child, with real small programs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vertebra.schemas.errors import ServiceFailed
from vertebra.services import orphans
from vertebra.services.logfile import LogFile
from vertebra.services.process import Child, ChildSpec, Watch, ending


class Heard(Watch):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.started_pids: list[int] = []
        self.ended_pids: list[int] = []

    def started(self, pid: int) -> None:
        self.started_pids.append(pid)

    def ended(self, pid: int) -> None:
        self.ended_pids.append(pid)


def _spec(script: str, **more: object) -> ChildSpec:
    return ChildSpec("child", ("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"}, **more)  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "child.log")


def _is_alive(pid: int) -> bool:
    return orphans.started_at(pid) is not None


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 (the kernel has no event for it)
            await asyncio.sleep(0.01)


async def test_a_killed_child_starts_again(log: LogFile) -> None:
    """After kill -9 another process is ready within a second, and it is the one that counts."""
    child = Child(_spec("exec sleep 100"), log, Watch())
    await child.start()

    old = child.kill()
    await child.wait_ready(30)

    assert child.pid not in (None, old)
    assert 1 == child.restarts
    await child.stop()


async def test_a_child_that_keeps_dying_is_tried_less_and_less(log: LogFile, tmp_path: Path) -> None:
    """The delay doubles: it is tried again, and at most twice in half a second."""
    child = Child(
        _spec(f"echo x >> {tmp_path}/tries; [ -e {tmp_path}/broken ] && exit 3; exec sleep 100"), log, Watch()
    )
    await child.start()
    (tmp_path / "broken").touch()

    child.kill()
    await asyncio.sleep(0.5)

    assert 3 >= len((tmp_path / "tries").read_text().split())
    await _until(lambda: len((tmp_path / "tries").read_text().split()) > 2)
    assert "exit code 3" in (tmp_path / "child.log").read_text()
    await child.stop()


async def test_a_child_that_never_becomes_ready_says_why(log: LogFile) -> None:
    """The error holds the exit code and the child's last words."""
    child = Child(_spec("echo cannot bind; exit 7", ready=_never), log, Watch())

    with pytest.raises(ServiceFailed, match=r"(?s)exit code 7.*cannot bind"):
        await child.start()

    assert child.pid is None


async def test_a_child_that_hangs_before_it_is_ready_is_ended(log: LogFile) -> None:
    """A time limit holds, and nothing stays behind."""
    heard = Heard()
    child = Child(_spec("exec sleep 100", ready=_never, ready_timeout_s=0.2), log, heard)

    with pytest.raises(ServiceFailed, match=r"not ready after 0\.2 s"):
        await child.start()

    assert not _is_alive(heard.started_pids[0])
    assert heard.started_pids == heard.ended_pids


async def test_a_deaf_child_is_killed_with_its_group(log: LogFile) -> None:
    """A child that ignores SIGINT ends after its time, and so does what it started."""
    child = Child(_spec("trap '' INT; sleep 100 & echo pid $!; wait", stop_timeout_s=0.3), log, Watch())
    await child.start()
    await _until(lambda: "pid " in log.tail())
    grandchild = int(log.tail().split()[-1])

    await child.stop()

    assert child.pid is None
    await _until(lambda: not _is_alive(grandchild))


async def test_stop_while_it_is_down(log: LogFile) -> None:
    """Stopping between two processes starts no third."""
    heard = Heard()
    child = Child(_spec("exec sleep 100"), log, heard)
    await child.start()
    child.kill()

    await child.stop()
    await asyncio.sleep(0.3)

    assert 1 == len(heard.started_pids)
    assert child.pid is None


async def test_the_environment_is_exactly_the_given_one(log: LogFile) -> None:
    """Nothing of ours reaches the child: no setting, no secret."""
    child = Child(
        ChildSpec("env", ("/bin/sh", "-c", "env; echo end; exec sleep 100"), {"PATH": "/bin", "A": "1"}), log, Watch()
    )
    await child.start()
    await _until(lambda: "end" in log.tail())

    names = {line.split("=")[0] for line in log.tail(40).splitlines() if "=" in line}

    assert {"A", "PATH"} == names - {"PWD", "SHLVL", "_", "OLDPWD"}
    await child.stop()


async def test_a_missing_program_is_named(log: LogFile) -> None:
    """The error names the program that is not there."""
    with pytest.raises(ServiceFailed, match="/no/such/program: child cannot be started"):
        await Child(ChildSpec("child", ("/no/such/program",)), log, Watch()).start()


async def test_a_probe_that_raises_does_not_end_the_watch(log: LogFile, tmp_path: Path) -> None:
    """After a probe with a mistake the child is tried again."""
    calls = 0

    async def probe() -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ValueError("a mistake")
        return True

    child = Child(_spec("exec sleep 100", ready=probe), log, Watch())
    await child.start()

    child.kill()
    await child.wait_ready(30)

    assert 3 == calls
    await child.stop()


def test_endings_in_words() -> None:
    """A signal is named, a code is shown."""
    assert "signal SIGKILL" == ending(-signal.SIGKILL)
    assert "exit code 2" == ending(2)


async def _never() -> bool:
    return False
