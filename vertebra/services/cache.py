"""Our cache folder, filled by one process at a time: two builds at once would take twice the disk and the time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from vertebra.services import folder, go_build, sdk_download

_LOCK = "build.lock"
_LOCK_EVERY_S = 0.5


@asynccontextmanager
async def alone(cache: Path, progress: Callable[[str], None]) -> AsyncIterator[None]:
    """Make the folder and hold its lock. What a killed process left in it is removed. Raises DiskFull."""
    descriptor = _opened(cache)
    try:
        if not _locked(descriptor):
            progress("another process is fetching the Temporal server; waiting for it")
            while not _locked(descriptor):  # noqa: ASYNC110 (another process frees it)
                await asyncio.sleep(_LOCK_EVERY_S)
        _remove_leftovers(cache)
        yield
    finally:
        os.close(descriptor)


def _opened(cache: Path) -> int:
    with folder.full_disk_named(cache):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(cache / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)


def _remove_leftovers(cache: Path) -> None:
    for left in (*cache.glob(f"{go_build.PREFIX}*"), *cache.glob(f"{sdk_download.PREFIX}*")):
        shutil.rmtree(left, ignore_errors=True)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
