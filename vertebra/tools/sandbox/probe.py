"""Which level works here is found by trying, at each start: one absent guard is a reason to refuse."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from vertebra.schemas.errors import SandboxUnavailable
from vertebra.schemas.tool import Job, Limits, ProbeReport
from vertebra.tools.sandbox import bwrap
from vertebra.tools.sandbox.cgroup import find_parents
from vertebra.tools.sandbox.level import Level
from vertebra.tools.sandbox.standard import StandardSandbox

_LIMITS = Limits(wall_s=20)
_LOOK = """
import ctypes, os, socket, sys
def facts():
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
    return {
        "filtered": status["Seccomp"] == "2",
        "without rights": int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0,
        "unable to gain rights": status["NoNewPrivs"] == "1",
        "nobody": os.getuid() == os.getgid() == 65534 and os.getgroups() in ([], [65534]),
        "in a process namespace of its own": os.getppid() == 1,
        "without network": [name for _, name in socket.if_nameindex()] == ["lo"],
        "without the machine's files": not os.path.exists("/etc/passwd") and not os.path.exists("/home"),
        "without environment": set(os.environ) <= {"PATH", "LANG", "PWD", "LC_CTYPE"},
        "unable to write outside": not any(os.access(place, os.W_OK) for place in ("/", "/usr", "/dev/shm", "/proc")),
    }
"""


@dataclass(frozen=True)
class Probed:
    """The level that works, if one does, and what was found."""

    level: Level | None
    report: ProbeReport

    def require(self) -> Level:
        """The level. Raises SandboxUnavailable with the probe's reason."""
        if self.level is None:
            raise SandboxUnavailable(f"no sandbox works on this machine: {self.report.reason}")
        return self.level


async def probe(path: str = bwrap.SEARCH_PATH, python: str | None = None) -> Probed:
    """Find the level that works here, with a control group if possible. Never raises: what fails is the reason."""
    if sys.platform != "linux":
        return _none("sandboxed tools need Linux")
    try:
        programs = bwrap.find_programs(path, python)
        parents = find_parents()
        tried = await try_level(StandardSandbox(programs, parents))
        if tried.level is None and parents is not None:
            tried = await try_level(StandardSandbox(programs, None))
    except SandboxUnavailable as error:
        return _none(str(error))
    return tried


async def try_level(level: Level) -> Probed:
    """Run a job that looks around, and accept the level only if every guard is in place. Never raises."""
    job = Job(id="probe", tool="probe", function="facts", source=_LOOK, arguments="{}", limits=_LIMITS)
    try:
        answer = await level.run(job)
    except SandboxUnavailable as error:
        return _none(str(error))  # as an ordinary user a missing program shows at the start, as root inside
    if answer.answer is None:
        return _none(answer.error.message if answer.error else "it gave no answer")
    missing = [guard for guard, holds in json.loads(answer.answer).items() if holds is not True]
    if missing:
        return _none(f"code inside is not {', not '.join(missing)}")
    return Probed(level, ProbeReport(level=level.name, memory=level.memory, start_ms=answer.duration_ms))


def _none(reason: str) -> Probed:
    return Probed(None, ProbeReport(reason=reason))
