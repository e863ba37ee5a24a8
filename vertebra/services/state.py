"""Where the services of a folder can be reached: `.vertebra/services.json`, true while its lock is held."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from vertebra.schemas.errors import AlreadyRunning, SettingsError

FOLDER = ".vertebra"
_FILE = "services.json"
_LOCK = "supervisor.lock"
_LOCK_PATIENCE_S = 0.3


class Services(BaseModel):
    """What runs for one folder. A snapshot: `pids` changes when a child is started again."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    v: int = 1
    folder: Path
    """The state folder, `.vertebra`."""
    pid: int
    """Of the supervisor."""
    temporal_address: str
    temporal_namespace: str = "default"
    temporal_ui: str | None
    """The Web UI, if it is served."""
    temporal_metrics: str
    temporal_cli: Path
    """The binary, for people who want its other commands."""
    postgres_dsn: str
    """Database `vertebra` as its superuser, by TCP."""
    postgres_socket_dsn: str
    """The same by Unix socket."""
    dsns: Mapping[str, str] = {}
    """Logins that others have added, by role."""
    addresses: Mapping[str, str] = {}
    """What others have added: the API, the web pages."""
    pids: Mapping[str, int] = {}
    started: Mapping[str, int] = {}
    """When each process started, in the kernel's ticks: a reused pid differs."""
    versions: Mapping[str, str] = {}


class FolderLock:
    """Held by the live supervisor of a folder, and freed by the kernel however it ends."""

    def __init__(self, state: Path) -> None:
        self._path = state / _LOCK
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it. Raises AlreadyRunning, naming the holder's pid."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:  # a reader holds it for a moment only
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise AlreadyRunning(
                    f"vertebra already runs in this folder (pid {holder})",
                    at=self._path.parent.parent,
                    do="stop it with Ctrl-C where it was started, or start in another folder",
                    pid=holder,
                )
            time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Free it. The file stays: to remove it would let two supervisors hold two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_live(state: Path) -> bool:
    """Whether a supervisor holds the lock of this state folder."""
    try:
        descriptor = os.open(state / _LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def find_services(start: Path) -> Services | None:
    """The running services of `start` or the nearest folder above it; None if none runs."""
    for folder in (start.absolute(), *start.absolute().parents):
        state = folder / FOLDER
        if (state / _FILE).is_file() and is_live(state):
            return read(state)
    return None


def read(state: Path) -> Services | None:
    """What the file says, true or stale; None if there is none. Raises SettingsError if it is no such file."""
    try:
        text = (state / _FILE).read_text()
    except FileNotFoundError:
        return None
    try:
        return Services.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise SettingsError(
            f"the file does not describe services: {error}", at=state / _FILE, do="stop vertebra and start it again"
        ) from None


def write(services: Services) -> None:
    """Replace the file in one step, for the owner's eyes only."""
    fresh = services.folder / f"{_FILE}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(services.model_dump_json(indent=2))
    os.replace(fresh, services.folder / _FILE)


def remove(state: Path) -> None:
    """Say that nothing runs."""
    (state / _FILE).unlink(missing_ok=True)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
