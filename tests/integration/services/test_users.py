"""Root in a private home, and an ordinary user: both start everything, with nothing chowned."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import vertebra
from vertebra.services import temporal_cli
from vertebra.services.options import ServiceOptions
from vertebra.services.state import Services
from vertebra.services.supervisor import Supervisor

pytestmark = [pytest.mark.server, pytest.mark.skipif(os.geteuid() != 0, reason="not run: not root")]

_PROGRAM = Path(__file__).with_name("run_supervisor.py")
_NOBODY = pwd.getpwnam("nobody").pw_uid
_NAMELESS = 12_345
_SITE = Path(vertebra.__file__).parents[1]


async def test_root_in_a_private_home(tmp_path: Path) -> None:
    """Root's home is 0700: Postgres runs in a user namespace and every file stays root's."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)

    options = replace(ServiceOptions.from_environ(os.environ), usual_ports=False)
    async with Supervisor(home, options) as running:
        inside, outside, count = _user_map(running.services.pids["postgres"])

    assert inside != outside == 0
    assert 1 == count
    assert {0} == _owners(home)
    assert 0o700 == home.stat().st_mode & 0o777


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder that every user reaches."""
    place = Path(tempfile.mkdtemp(prefix="vertebra-user-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def interpreter() -> str:
    """A Python of our version that an ordinary user can start."""
    wanted = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in ("/usr/bin", "/usr/local/bin"):
        if shutil.which(wanted, path=folder):
            return f"{folder}/{wanted}"
    pytest.skip(f"not run: no {wanted} in /usr/bin or /usr/local/bin for an ordinary user")


@pytest.fixture(scope="session")
def libraries(ground: Path) -> str:
    """Our package and what it needs, where an ordinary user can read them."""
    installed = next(Path(entry) for entry in sys.path if (Path(entry) / "temporalio").is_dir())
    shutil.copytree(_SITE / "vertebra", ground / "ours" / "vertebra", ignore=shutil.ignore_patterns("__pycache__"))
    if not _is_readable(installed / "temporalio" / "__init__.py"):
        shutil.copytree(installed, ground / "libraries")
        installed = ground / "libraries"
    return f"{ground / 'ours'}:{installed}"


@pytest.fixture(scope="session")
async def binary(ground: Path) -> str:
    """The `temporal` binary where an ordinary user can start it."""
    cli = await temporal_cli.find_or_make(ServiceOptions.from_environ(os.environ), print)
    try:
        os.link(cli.path, ground / "temporal")
    except OSError:
        shutil.copy(cli.path, ground / "temporal")
    (ground / "temporal").chmod(0o755)
    return str(ground / "temporal")


@pytest.mark.parametrize("user", [_NOBODY, _NAMELESS], ids=["named", "nameless"])
def test_an_ordinary_user(ground: Path, interpreter: str, libraries: str, binary: str, user: int) -> None:
    """A user without any right, known to the system or not, starts and stops everything in a folder of its own."""
    home = ground / f"home-{user}"
    home.mkdir(mode=0o700)
    os.chown(home, user, user)
    program = shutil.copy(_PROGRAM, ground / "program.py")
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": libraries, "VERTEBRA_TEMPORAL_CLI": binary}

    ended = subprocess.run(
        [*_as(user), interpreter, "-B", str(program), str(home), "once"],
        capture_output=True,
        text=True,
        cwd=ground,
        env=env,
        timeout=180,
        check=False,
    )

    assert 0 == ended.returncode, ended.stderr
    assert {"postgres", "temporal"} == set(Services.model_validate_json(ended.stdout).pids)
    assert {user} == _owners(home)


def _as(user: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs")


def _user_map(pid: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{pid}/uid_map").read_text().split()]


def _owners(home: Path) -> set[int]:
    return {file.stat().st_uid for file in home.rglob("*")}


def _is_readable(path: Path) -> bool:
    return not subprocess.run([*_as(_NOBODY), "test", "-r", str(path)], check=False).returncode
