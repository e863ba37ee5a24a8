"""`vertebra demo` as `make demo` starts it, and as impatient people end it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.shop import VERTEBRA, gone, processes_in

pytestmark = [pytest.mark.server, pytest.mark.timeout(480)]


@contextmanager
def performed(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that runs in a checkout; whatever happens, it is not left running."""
    demo = subprocess.Popen(
        [VERTEBRA, "demo"],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
        # settings of the user's own would make it another demo
        env={**os.environ, "VERTEBRA_TEMPORAL_ADDRESS": "127.0.0.1:1", "VERTEBRA_PERSON": "nobody"},
    )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.kill()
        demo.wait()
        assert demo.stdout is not None
        demo.stdout.close()


def test_everything_holds(tmp_path: Path) -> None:
    """All eight acts hold, twice in one folder the second replaces the first, and no process is left."""
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo/vertebra.toml").write_text('name = "of an earlier demo"\n')
    with performed(tmp_path) as demo:
        said, _ = demo.communicate(timeout=420)

    assert "FAILED" not in said, said
    assert 0 == demo.returncode, said
    assert "== 8/8" in said
    assert "checks held, in " in said
    for shown in ("approvals show", "kill -9", "workflow terminate", "vertebra resume", "budgets top-up", "entry 24"):
        assert shown in said
    assert [] == processes_in(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_an_interrupted_demo(tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted, terminated or killed in the middle, it takes Postgres, Temporal and worker with it."""
    with performed(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "completed" in line:
                break
        alive = processes_in(tmp_path)
        demo.send_signal(number)
        demo.wait(90)

    assert 4 <= len(alive)
    assert demo.returncode in (130, 128 + number, -number)
    assert gone(tmp_path), processes_in(tmp_path)


def test_live_is_not_there_yet(tmp_path: Path) -> None:
    """`make demo LIVE=1` is refused as a wrong use, in words, before anything is made."""
    found = subprocess.run([VERTEBRA, "demo", "--live"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 2 == found.returncode
    assert "this version cannot show real models yet" in found.stderr
    assert [] == list(tmp_path.iterdir())


def test_a_folder_of_somebody_elses_is_not_removed(tmp_path: Path) -> None:
    """A `.demo` that no demo has made stays as it is."""
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo/diary.txt").write_text("dear diary")

    found = subprocess.run([VERTEBRA, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 2 == found.returncode
    assert "this is no folder of an earlier demo" in found.stderr
    assert "dear diary" == (tmp_path / ".demo/diary.txt").read_text()
