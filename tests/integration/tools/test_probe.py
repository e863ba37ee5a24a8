"""The sandbox's probe on this machine: as whoever runs the tests, and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import vertebra
from vertebra.tools.sandbox.probe import probe

needs_sandbox = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)"
)
_SYSTEM_PYTHON = Path("/usr/bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
_AS_A_USER = """
import asyncio, json
from vertebra.schemas.tool import Job
from vertebra.tools.sandbox.probe import probe
BOMB = '''
import os, signal, time
def bomb():
    children = []
    try:
        while True:
            child = os.fork()
            if child == 0:
                time.sleep(60)
            children.append(child)
    except OSError:
        return len(children)
'''
async def main():
    probed = await probe()
    jobs = [Job(id=str(n), tool="bomb", function="bomb", source=BOMB, arguments="{}") for n in range(2)]
    bombs = await asyncio.gather(*[probed.require().run(job) for job in jobs])
    print(json.dumps([probed.report.model_dump(), *[bomb.answer for bomb in bombs]]))
asyncio.run(main())
"""


@needs_sandbox
async def test_the_standard_level_works_here() -> None:
    """The probe finds the level, says how memory is bounded, and how long a start takes."""
    report = (await probe()).report

    assert (report.level, report.reason) == ("standard", None)
    assert report.start_ms > 0


async def test_a_machine_without_the_programs_gives_a_reason(tmp_path: Path) -> None:
    """An empty search path gives no level and a reason; nothing is raised."""
    probed = await probe(str(tmp_path))

    assert probed.level is None
    assert "bubblewrap" in (probed.report.reason or "")


@needs_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="not run: not root")
@pytest.mark.skipif(not _SYSTEM_PYTHON.exists(), reason=f"not run: no {_SYSTEM_PYTHON}, whose users may run it")
def test_an_ordinary_user_gets_the_sandbox_too() -> None:
    """Without root the level works, two fork bombs at once stop below 64, and memory is bounded as the probe says."""
    root = Path(vertebra.__file__).parent.parent
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--"]
    environment = {"PYTHONPATH": f"{root}:{sysconfig.get_path('purelib')}", "PYTHONDONTWRITEBYTECODE": "1"}

    ended = subprocess.run(
        [*user, str(_SYSTEM_PYTHON), "-c", _AS_A_USER],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    report, *bombs = json.loads(ended.stdout)
    assert (report["level"], report["memory"]) == ("standard", "address space only")
    assert all(0 < int(bomb) < 64 for bomb in bombs)
