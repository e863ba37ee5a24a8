"""Starts that must not be: refused with a reason, and nothing is changed or left behind."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from vertebra.schemas.errors import AlreadyRunning, DiskFull, ForeignData
from vertebra.services import folder, ports, postgres, temporal_cli
from vertebra.services.launch import Launch
from vertebra.services.options import ServiceOptions
from vertebra.services.state import Services, find_services
from vertebra.services.supervisor import Supervisor

pytestmark = pytest.mark.server

_OPTIONS = ServiceOptions.from_environ(os.environ)
_LAUNCH = Launch.on(_OPTIONS.path)
_needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not run: not root")


def _contents(place: Path) -> dict[str, str]:
    return {
        str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(place.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"not run: no tmpfs ({mounted.stderr.decode().strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_second_start_in_the_folder_is_refused(supervisor: Supervisor, services: Services) -> None:
    """The error names the pid of the first, which runs on."""
    with pytest.raises(AlreadyRunning, match=rf"already runs in this folder \(pid {os.getpid()}\)"):
        async with Supervisor(supervisor.state.parent, _OPTIONS):
            pass

    assert find_services(supervisor.state) is not None
    async with await psycopg.AsyncConnection.connect(services.postgres_dsn):
        pass


async def test_usual_ports_in_use(tmp_path: Path) -> None:
    """Where other programs hold the usual ports, others are taken and written down."""
    with ExitStack() as held:
        for port in (ports.USUAL.postgres, ports.USUAL.temporal, ports.USUAL.temporal_ui):
            with suppress(OSError):  # somebody holds it
                held.enter_context(socket.create_server((ports.LOOPBACK, port)))
        async with Supervisor(tmp_path, _OPTIONS) as running:
            found = find_services(tmp_path)
            assert running.services == found

    assert f":{ports.USUAL.temporal}" not in running_ports(found)


def running_ports(services: Services | None) -> str:
    """The addresses as one text."""
    assert services is not None
    return f"{services.temporal_address} {services.temporal_ui} {services.postgres_dsn.rsplit('@', 1)[1]}"


async def test_a_long_path(tmp_path: Path) -> None:
    """Where the path is too long for a socket, the socket lies in a short private folder, removed at the end."""
    deep = tmp_path / ("d" * 90)
    deep.mkdir()

    async with Supervisor(deep, _OPTIONS) as running:
        async with await psycopg.AsyncConnection.connect(running.services.postgres_socket_dsn) as connection:
            sockets = connection.info.host
        assert 0o700 == os.stat(sockets).st_mode & 0o777
        assert not sockets.startswith(str(deep))

    with pytest.raises(FileNotFoundError):
        os.stat(sockets)


async def test_the_other_server_of_the_wheel(tmp_path: Path) -> None:
    """The store can be tested on Postgres 18 as well, and its data are refused by 16."""
    async with Supervisor(tmp_path, ServiceOptions(**{**vars(_OPTIONS), "postgres": 18})) as running:
        assert running.services.versions["postgres"].startswith("18.")

    with pytest.raises(ForeignData, match="of Postgres '18', and the server is 16"):
        async with Supervisor(tmp_path, _OPTIONS):
            pass


def _remove_version(home: Path) -> None:
    (home / "cluster" / "PG_VERSION").unlink()


def _other_version(home: Path) -> None:
    (home / "cluster" / "PG_VERSION").write_text("12\n")


def _remove_control(home: Path) -> None:
    (home / "cluster" / "global" / "pg_control").unlink()


def _remove_password(home: Path) -> None:
    (home / "password").unlink()


def _remove_marker(home: Path) -> None:
    (home / folder.MARKER).unlink()


def _newer_format(home: Path) -> None:
    (home / folder.MARKER).write_text('{"format": 2, "postgres": 16}')


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_remove_version, "it holds no PG_VERSION"),
        (_other_version, "of Postgres '12', and the server is 16"),
        (_remove_control, "it holds no global/pg_control"),
        (_remove_password, "the password of its cluster is missing"),
        (_remove_marker, "vertebra did not make it"),
        (_newer_format, "its format is 2"),
    ],
)
def test_a_damaged_cluster_is_refused_and_kept(tmp_path: Path, damage: Callable[[Path], None], reason: str) -> None:
    """What is not a whole cluster of ours is neither opened nor changed."""
    postgres.open_or_create(tmp_path, 16, _LAUNCH)
    damage(tmp_path / "postgres")
    before = _contents(tmp_path)

    with pytest.raises(ForeignData, match=reason):
        postgres.open_or_create(tmp_path, 16, _LAUNCH)

    assert before == _contents(tmp_path)


@_needs_root
async def test_a_full_disk_is_told_before_the_start(tmpfs: Path) -> None:
    """With too little space nothing is made, and the error says how much it takes."""
    with pytest.raises(DiskFull, match="23 MB are free, 256 MB are needed"):
        async with Supervisor(tmpfs, _OPTIONS):
            pass

    assert ["supervisor.lock"] == list(map(os.path.basename, _contents(tmpfs)))


@_needs_root
async def test_a_disk_too_small_for_the_build(tmpfs: Path, tmp_path: Path) -> None:
    """The Go build needs 4 GB: with less it is not begun."""
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\n[ $1 = env ] && echo go1.26.1\n")
    go.chmod(0o755)
    options = ServiceOptions(cache=tmpfs, path=str(tmp_path), may_download=False)

    with pytest.raises(DiskFull, match="4096 MB are needed"):
        await temporal_cli.find_or_make(options, print)

    assert ["build.lock"] == list(_contents(tmpfs))


@_needs_root
def test_a_disk_that_fills_up_leaves_no_half_cluster(tmpfs: Path) -> None:
    """When initdb runs out of space, its beginnings are removed and the next start begins anew."""
    with pytest.raises(DiskFull):
        postgres.open_or_create(tmpfs, 16, _LAUNCH)

    assert [] == list(tmpfs.iterdir())


def test_what_a_killed_first_start_left_is_removed(tmp_path: Path) -> None:
    """A cluster that was never finished is not taken for one."""
    (tmp_path / "postgres.new-abc" / "cluster").mkdir(parents=True)

    cluster = postgres.open_or_create(tmp_path, 16, _LAUNCH)

    assert (cluster.data / "PG_VERSION").exists()
    assert ["postgres", "run"] == sorted(file.name for file in tmp_path.iterdir())


def test_a_stale_pid_file_of_another_program(tmp_path: Path) -> None:
    """A number that now belongs to somebody else does not keep the server from starting."""
    cluster = postgres.open_or_create(tmp_path, 16, _LAUNCH)
    (cluster.data / "postmaster.pid").write_text(f"{os.getppid()}\n{cluster.data}\n")

    postgres.open_or_create(tmp_path, 16, _LAUNCH)

    assert not (cluster.data / "postmaster.pid").exists()
