"""The command line of the sandbox, and what is said when a program is missing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from vertebra.schemas.errors import SandboxUnavailable
from vertebra.schemas.tool import Limits
from vertebra.tools.sandbox.bwrap import Programs, command, find_programs

PROGRAMS = Programs(bwrap="/usr/bin/bwrap", prlimit="/usr/bin/prlimit", setpriv=None, python="/usr/bin/python3.11")
ROOT = replace(PROGRAMS, setpriv="/usr/bin/setpriv", python="/opt/py/bin/python3")


def program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_limits_stand_outside_and_the_process_limit_inside() -> None:
    """Memory, time and files are limited before bwrap; processes after it, where only the namespace counts."""
    words = command(PROGRAMS, Limits(), 5)

    assert words[0] == "/usr/bin/prlimit"
    assert words.index("--as=1073741824") < words.index("/usr/bin/bwrap") < words.index("--nproc=64")


def test_remounting_comes_after_every_mount() -> None:
    """`--remount-ro` is not recursive, so nothing is mounted after it."""
    words = command(PROGRAMS, Limits(), 5)
    mounts = [n for n, word in enumerate(words) if word in ("--ro-bind", "--tmpfs", "--proc", "--dev", "--symlink")]

    assert max(mounts) < words.index("--remount-ro")
    assert "--bind" not in words


def test_root_gives_everything_up_first() -> None:
    """A root worker's sandbox starts as nobody, without groups or inheritable rights."""
    words = command(ROOT, Limits(), 5, (Path("/sys/fs/cgroup/x/cgroup.procs"),))

    assert words[0] == "/bin/sh"
    assert (
        words.index("/sys/fs/cgroup/x/cgroup.procs") < words.index("/usr/bin/setpriv") < words.index("/usr/bin/prlimit")
    )
    assert words[words.index("--reuid") + 1] == "65534"


def test_an_interpreter_elsewhere_is_mounted() -> None:
    """An interpreter outside /usr brings its own folder, read-only."""
    words = command(ROOT, Limits(), 5)
    at = words.index("/opt/py")

    assert words[at - 1 : at + 2] == ["--ro-bind", "/opt/py", "/opt/py"]


@pytest.mark.parametrize(
    ("there", "missing"), [((), "bubblewrap"), (("bwrap",), "util-linux"), (("bwrap", "setpriv"), "util-linux")]
)
def test_a_missing_program_is_named_with_its_package(tmp_path: Path, there: tuple[str, ...], missing: str) -> None:
    """What is not found is named with the Debian package that holds it."""
    for name in there:
        program(tmp_path, name)

    with pytest.raises(SandboxUnavailable, match=missing):
        find_programs(str(tmp_path), as_root=True)


def test_an_ordinary_user_needs_no_setpriv(tmp_path: Path) -> None:
    """setpriv is looked for by root only."""
    for name in ("bwrap", "prlimit", "python3"):
        program(tmp_path, name)

    found = find_programs(str(tmp_path), str(tmp_path / "python3"), as_root=False)

    assert found.setpriv is None
    assert found.python == os.path.realpath(tmp_path / "python3")


def test_a_missing_interpreter_names_the_setting(tmp_path: Path) -> None:
    """The operator is told which setting names the interpreter."""
    for name in ("bwrap", "prlimit"):
        program(tmp_path, name)

    with pytest.raises(SandboxUnavailable, match="VERTEBRA_SANDBOX_PYTHON"):
        find_programs(str(tmp_path), "/nowhere/python", as_root=False)
