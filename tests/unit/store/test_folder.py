"""Large values as files."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vertebra.schemas.errors import NotFound, SettingsError, StoreError, TamperedRow
from vertebra.store.artifacts import MARKER, open_folder

DATA = b"large" * 1000
NAME = hashlib.sha256(DATA).hexdigest()


def test_a_value_is_written_once(tmp_path: Path) -> None:
    """Eight writers of the same bytes leave one read-only file and no drafts."""
    folder = open_folder(tmp_path / "store", create=True)
    with ThreadPoolExecutor(8) as threads:
        places = set(threads.map(lambda _: folder.write(NAME, DATA), range(8)))

    files = [path for path in folder.path.rglob("*") if path.is_file() and path.name != MARKER]
    assert {f"file:{NAME}"} == places
    assert [NAME] == [path.name for path in files]
    assert 0o400 == files[0].stat().st_mode & 0o777
    assert DATA == folder.read(NAME)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    """Bytes that do not have the hash they are named by are never given out."""
    folder = open_folder(tmp_path, create=True)
    folder.write(NAME, DATA)
    path = tmp_path / NAME[:2] / NAME
    path.chmod(0o600)
    path.write_bytes(DATA[:-1])

    with pytest.raises(TamperedRow, match=NAME):
        folder.read(NAME)


def test_a_missing_file_says_where_it_should_be(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(NotFound, match=str(tmp_path)):
        open_folder(tmp_path, create=True).read(NAME)


def test_a_folder_without_the_marker_is_refused(tmp_path: Path) -> None:
    """An empty mount point is no artifact store."""
    with pytest.raises(SettingsError, match=MARKER):
        open_folder(tmp_path)


def test_a_folder_that_takes_nothing_is_store_trouble(tmp_path: Path) -> None:
    """What the disk refuses is an error of the store, which is tried again, and says where."""
    folder = open_folder(tmp_path, create=True)
    (tmp_path / NAME[:2]).write_text("in the way")

    with pytest.raises(StoreError, match="could not be written") as caught:
        folder.write(NAME, DATA)

    assert str(tmp_path) in str(caught.value)


def test_a_folder_that_cannot_be_made_is_a_setting_to_mend(tmp_path: Path) -> None:
    """Whoever starts the worker reads which folder, why, and what to set."""
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(SettingsError, match="cannot be made an artifact folder: Not a directory"):
        open_folder(tmp_path / "taken/store", create=True)
