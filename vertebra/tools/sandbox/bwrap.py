"""The `standard` level: bubblewrap, with a system call filter and limits, as a user who owns nothing.

No folder of the machine is writable inside: /tmp and /box are memory of a fixed size, and job and answer travel through
pipes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from vertebra.schemas.errors import SandboxUnavailable
from vertebra.schemas.tool import Limits

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
"""Where the programs are looked for: a tool host has no environment of its own."""

_NOBODY = "65534"
_INTERPRETERS = ("/usr/bin/python3", "/usr/local/bin/python3")
_ENTER_GROUP = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'
_READ_PROGRAM = "import sys;b=sys.stdin.buffer;exec(b.read(int(b.readline())))"

_NAMESPACES = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup"),
    *("--disable-userns", "--assert-userns-disabled", "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox"),
)
_RIGHTS = (
    *("--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/usr/bin"),
    *("--setenv", "LANG", "C.UTF-8", "--cap-drop", "ALL"),
)
_SYSTEM = (
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"),
)
_CLOSE = ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/box")  # comes last: it is not recursive


@dataclass(frozen=True)
class Programs:
    """The programs that the level is made of."""

    bwrap: str
    prlimit: str
    setpriv: str | None
    """Needed by root only, who gives up everything first."""
    python: str


def find_programs(path: str = SEARCH_PATH, python: str | None = None, *, as_root: bool | None = None) -> Programs:
    """Look the programs up. `python` is the operator's choice. Raises SandboxUnavailable naming what is missing."""
    root = os.geteuid() == 0 if as_root is None else as_root
    bwrap = _find("bwrap", "bubblewrap", path)
    setpriv = _find("setpriv", "util-linux", path) if root else None
    return Programs(bwrap, _find("prlimit", "util-linux", path), setpriv, _interpreter(python))


def command(programs: Programs, limits: Limits, filter_fd: int, groups: tuple[Path, ...] = ()) -> list[str]:
    """The command line of one job: what wraps what, outermost first."""
    return [
        *_enter(groups),
        *_as_nobody(programs),
        *_outer_limits(programs, limits),
        *(programs.bwrap, *_NAMESPACES, *_RIGHTS, *_SYSTEM, *_outside_usr(programs)),
        *_writable("/tmp", limits),  # noqa: S108 - the sandbox's own
        *_writable("/box", limits),
        *(*_CLOSE, "--seccomp", str(filter_fd), "--"),
        # inside, because outside it would count all processes of the user
        *("/usr/bin/prlimit", f"--nproc={limits.processes}", "--"),
        *(programs.python, "-I", "-S", "-c", _READ_PROGRAM),
    ]


def _enter(groups: tuple[Path, ...]) -> list[str]:
    return ["/bin/sh", "-c", _ENTER_GROUP, "sh", *map(str, groups), "--"] if groups else []


def _as_nobody(programs: Programs) -> list[str]:
    if programs.setpriv is None:
        return []
    return [programs.setpriv, "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups", "--inh-caps=-all", "--"]


def _outer_limits(programs: Programs, limits: Limits) -> list[str]:
    return [
        programs.prlimit,
        f"--as={limits.address_bytes}",
        f"--cpu={limits.cpu_s}:{limits.cpu_s + 1}",  # the first ends it by a signal of its own, which can be told
        f"--fsize={limits.file_bytes}",
        f"--nofile={limits.files}",
        "--core=0",
        "--",
    ]


def _writable(place: str, limits: Limits) -> list[str]:
    return ["--size", str(limits.file_bytes), "--tmpfs", place]


def _outside_usr(programs: Programs) -> list[str]:
    """An interpreter of the operator's own needs its folder mounted."""
    prefix = str(Path(programs.python).parent.parent)
    return [] if prefix == "/usr" or prefix.startswith("/usr/") else ["--ro-bind", prefix, prefix]


def _find(name: str, package: str, path: str) -> str:
    found = shutil.which(name, path=path)
    if found is None:
        raise SandboxUnavailable(f"there is no {name!r} in {path}", do=f"install the package {package!r}")
    return os.path.realpath(found)


def _interpreter(chosen: str | None) -> str:
    """The operator's interpreter, else the system's: those of pyenv and uv lie in folders that nobody can reach."""
    candidates = (chosen,) if chosen else _INTERPRETERS
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return os.path.realpath(candidate)
    raise SandboxUnavailable(
        f"there is no Python at {' or '.join(candidates)}",
        do="install Debian's python3, or name one in VERTEBRA_SANDBOX_PYTHON",
    )
