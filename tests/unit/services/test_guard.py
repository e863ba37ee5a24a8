"""The watchdog and our end of it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from vertebra.services.guard import Guard


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sleep", "100"], process_group=0)
    reaper = threading.Thread(target=process.wait)  # as init does for a supervisor that is gone
    reaper.start()
    yield process
    process.kill()
    reaper.join()


def _silent() -> None:
    """Nobody is told."""


def test_children_end_when_its_input_ends(sleeper: subprocess.Popen[bytes]) -> None:
    """A supervisor that is gone takes its children along, also where no parent-death signal exists."""
    guard = Guard(_silent)
    guard.started(sleeper.pid)

    guard.close()

    assert -signal.SIGINT == sleeper.wait(30)


def test_a_child_that_has_ended_is_forgotten(sleeper: subprocess.Popen[bytes]) -> None:
    """Its number may be another's by then."""
    guard = Guard(_silent)
    guard.started(sleeper.pid)
    guard.ended(sleeper.pid)

    guard.close()

    assert sleeper.poll() is None


def test_a_killed_watchdog_is_replaced(sleeper: subprocess.Popen[bytes]) -> None:
    """The next one knows all children of the first."""
    guard = Guard(_silent)
    guard.started(sleeper.pid)
    os.kill(_watchdog(guard), signal.SIGKILL)
    _until(lambda: guard._watchdog.poll() is not None)

    guard.ended(1_000_000)
    guard.close()

    assert -signal.SIGINT == sleeper.wait(30)


def test_each_start_is_told(sleeper: subprocess.Popen[bytes]) -> None:
    """Whoever keeps the list of processes hears of each start."""
    told: list[str] = []
    guard = Guard(lambda: told.append("changed"))

    guard.started(sleeper.pid)
    guard.close()

    assert ["changed"] == told


def _watchdog(guard: Guard) -> int:
    return guard._watchdog.pid


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()
