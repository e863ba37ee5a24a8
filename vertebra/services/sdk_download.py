"""The SDK's own download of Temporal's server, into our cache, given up when it stands still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from vertebra.schemas.errors import ServiceFailed
from vertebra.services.options import ServiceOptions

PREFIX = "download-"
_PATIENCE_S = 20.0
_LOOK_EVERY_S = 0.25


async def download(options: ServiceOptions, target: Path, progress: Callable[[str], None]) -> None:
    """Put the binary at `target`. Raises ServiceFailed; then nothing is left."""
    progress("downloading the Temporal server")
    fresh = Path(tempfile.mkdtemp(prefix=PREFIX, dir=options.cache))
    try:
        await _fetch(fresh)
        found = [file for file in _files(fresh) if os.access(file, os.X_OK)]
        if len(found) != 1:
            raise ServiceFailed("the SDK's download left no binary")
        os.replace(found[0], target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


async def _fetch(fresh: Path) -> None:
    fetching = asyncio.create_task(_start_once(fresh))
    size, still_s = 0, 0.0
    try:
        while not fetching.done() and still_s < _PATIENCE_S:
            await asyncio.wait([fetching], timeout=_LOOK_EVERY_S)
            now = sum(file.stat().st_size for file in _files(fresh))
            still_s = 0.0 if now != size else still_s + _LOOK_EVERY_S
            size = now
        if not fetching.done():
            raise ServiceFailed(f"the SDK's download made no progress for {_PATIENCE_S:g} s")
        await fetching
    finally:
        fetching.cancel()
        with contextlib.suppress(asyncio.CancelledError, RuntimeError):
            await fetching


def _files(fresh: Path) -> list[Path]:
    return [file for file in fresh.rglob("*") if file.is_file()]


async def _start_once(fresh: Path) -> None:
    """The SDK has no download alone: it starts what it has fetched."""
    try:
        environment = await WorkflowEnvironment.start_local(ip="127.0.0.1", download_dest_dir=str(fresh))
    except RuntimeError as error:
        raise ServiceFailed(f"the SDK cannot download it: {str(error).splitlines()[0]}") from error
    await environment.shutdown()
