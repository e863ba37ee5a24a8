"""services.json and the lock that makes it true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vertebra.schemas.errors import AlreadyRunning, SettingsError
from vertebra.services import state
from vertebra.services.state import FolderLock, Services


def _services(folder: Path) -> Services:
    return Services(
        folder=folder,
        pid=os.getpid(),
        temporal_address="127.0.0.1:1",
        temporal_ui=None,
        temporal_metrics="",
        temporal_cli=Path("/bin/true"),
        postgres_dsn="postgresql://a",
        postgres_socket_dsn="postgresql://b",
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / state.FOLDER
    folder.mkdir()
    return folder


def test_services_are_found_from_a_folder_below(home: Path) -> None:
    """Any folder of the project leads to what runs for it."""
    lock = FolderLock(home)
    lock.acquire()
    state.write(_services(home))
    below = home.parent / "graphs" / "deep"
    below.mkdir(parents=True)

    found = state.find_services(below)

    assert _services(home) == found
    lock.release()


def test_a_stale_file_is_no_service(home: Path) -> None:
    """What a killed supervisor left is not believed: its lock is free."""
    state.write(_services(home))

    assert state.find_services(home.parent) is None


def test_the_file_is_private(home: Path) -> None:
    """The file holds passwords: its owner alone reads it."""
    state.write(_services(home))

    assert 0o600 == (home / "services.json").stat().st_mode & 0o777


def test_a_second_lock_is_refused_with_the_pid(home: Path) -> None:
    """Who comes second learns who was first."""
    first = FolderLock(home)
    first.acquire()

    with pytest.raises(AlreadyRunning, match=rf"already runs in this folder \(pid {os.getpid()}\)"):
        FolderLock(home).acquire()

    first.release()
    FolderLock(home).acquire()


def test_a_broken_file_is_named(home: Path) -> None:
    """A file that is no services.json is an error with its path, not a crash."""
    (home / "services.json").write_text('{"folder": 3')

    with pytest.raises(SettingsError, match=r"services\.json: the file does not describe services"):
        state.read(home)


def test_a_field_of_a_newer_version_is_ignored(home: Path) -> None:
    """An older command line can read what a newer supervisor wrote."""
    text = _services(home).model_dump_json()
    (home / "services.json").write_text(text[:-1] + ', "news": 1}')

    assert _services(home) == state.read(home)
