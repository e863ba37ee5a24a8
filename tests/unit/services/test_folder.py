"""The state folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vertebra.schemas.errors import DiskFull, ForeignData
from vertebra.services import folder


def test_the_folder_is_private(tmp_path: Path) -> None:
    """State holds data and passwords: only its owner enters."""
    folder.prepare(tmp_path / "s")

    assert 0o700 == (tmp_path / "s").stat().st_mode & 0o777


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """Data of somebody else are never replaced."""
    (tmp_path / "s").write_text("mine")

    with pytest.raises(ForeignData, match="not a folder"):
        folder.check_owner(tmp_path / "s")

    assert "mine" == (tmp_path / "s").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: not root")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Root does not use what belongs to a user, whose server would then not be able to."""
    os.chown(tmp_path, 12345, 12345)

    with pytest.raises(ForeignData, match="belongs to user 12345"):
        folder.prepare(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "vertebra did not make it"),
        ("{", "cannot be read"),
        ("[]", "names no format"),
        ('{"format": "1"}', "names no format"),
        ('{"format": 99}', "update vertebra"),
    ],
)
def test_a_marker_that_we_did_not_write_is_refused(tmp_path: Path, text: str | None, reason: str) -> None:
    """A folder is ours only if its marker says so, in a format that we know."""
    if text is not None:
        (tmp_path / folder.MARKER).write_text(text)

    with pytest.raises(ForeignData, match=reason):
        folder.read_marker(tmp_path)


def test_the_marker_comes_back(tmp_path: Path) -> None:
    """What was marked is read."""
    folder.write_marker(tmp_path, postgres=16)

    assert {"format": 1, "postgres": 16} == folder.read_marker(tmp_path)


def test_too_little_space_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    """The error says how much is free and how much it takes."""
    with pytest.raises(DiskFull, match=r"MB are free, 1125899906842624 MB are needed"):
        folder.check_space(tmp_path, 2**70)


def test_the_system_s_full_disk_gets_its_name(tmp_path: Path) -> None:
    """`No space left on device` becomes DiskFull; other errors stay what they are."""
    with pytest.raises(DiskFull), folder.full_disk_named(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(PermissionError), folder.full_disk_named(tmp_path):
        raise PermissionError(errno.EACCES, "no")
