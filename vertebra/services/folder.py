"""The state folder `.vertebra`: ours, private, of a format that we know."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vertebra.schemas.errors import DiskFull, ForeignData

FORMAT = 1
MARKER = "format.json"
NEEDED_BYTES = 256 * 1024 * 1024
"""A fresh cluster takes 40 MB, its log segments 64, Temporal's first file 2; the rest is work."""


def prepare(state: Path) -> None:
    """Make the state folder and its logs, 0700. Raises ForeignData if it is somebody else's."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_owner(state)
    state.chmod(0o700)
    (state / "logs").mkdir(mode=0o700, exist_ok=True)


def check_owner(place: Path) -> None:
    """Raise ForeignData unless `place` is a folder of ours."""
    if not place.is_dir():
        raise ForeignData("this is not a folder", at=place, do="move it away")
    owner = place.stat().st_uid
    if owner != os.geteuid():
        raise ForeignData(
            f"the folder belongs to user {owner}, and this is user {os.geteuid()}",
            at=place,
            do="start vertebra as that user, or in another folder",
        )


def check_space(place: Path, needed_bytes: int = NEEDED_BYTES) -> None:
    """Raise DiskFull unless so much is free where `place` lies."""
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise disk_full(place, needed_bytes, free)


def disk_full(place: Path, needed_bytes: int, free_bytes: int) -> DiskFull:
    """The error that says how much is free and how much it takes."""
    return DiskFull(
        f"the disk is full: {free_bytes // 2**20} MB are free, {needed_bytes // 2**20} MB are needed",
        at=place,
        do="free some space, or start in a folder on another disk",
    )


@contextmanager
def full_disk_named(place: Path) -> Iterator[None]:
    """Turn the system's `no space left` into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise disk_full(place, NEEDED_BYTES, shutil.disk_usage(place).free) from error


def write_marker(place: Path, **facts: str | int | bool) -> None:
    """Say in `place` of which format it is."""
    fresh = place / f"{MARKER}.new"
    fresh.write_text(json.dumps({"format": FORMAT, **facts}) + "\n")
    os.replace(fresh, place / MARKER)


def read_marker(place: Path) -> dict[str, str | int | bool]:
    """What `write_marker` wrote. Raises ForeignData if it is missing, unreadable or of a newer format."""
    try:
        facts = json.loads((place / MARKER).read_text())
    except FileNotFoundError:
        raise foreign(place, f"it holds no {MARKER}, so vertebra did not make it") from None
    except ValueError:
        raise foreign(place, f"its {MARKER} cannot be read") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise foreign(place, f"its {MARKER} names no format")
    if facts["format"] > FORMAT:
        known = f"this version of vertebra knows {FORMAT}"
        raise ForeignData(f"its format is {facts['format']}, and {known}", at=place, do="update vertebra")
    return facts


def foreign(place: Path, reason: str) -> ForeignData:
    """The error for data that are not touched."""
    advice = "put back a copy or move it away; nothing in it was changed"
    return ForeignData(f"this data folder is not used: {reason}", at=place, do=advice)
