"""Small disks that can be filled to the last byte, each a tmpfs of the test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.plant import Plant

_LOOKS, _LOOK_S = 100, 0.1
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not run: not root, so no small disk can be mounted")


@asynccontextmanager
async def small_disk(place: Path, size: int) -> AsyncIterator[Path]:
    """A disk of so many bytes, mounted at `place` for the length of the block."""
    place.mkdir()  # noqa: ASYNC240 - a folder of the test's own, at once
    code, said = await _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    if code:  # root in a container may not
        place.rmdir()  # noqa: ASYNC240 - it is empty
        pytest.skip(f"not run: no tmpfs ({said})")
    try:
        yield place
    finally:
        await _unmount(place)


@asynccontextmanager
async def database_on_small_disk(plant: Plant) -> AsyncIterator[Path]:
    """Postgres on a disk of its own, a little larger than its data, for the length of the block."""
    home = plant.supervisor.state / "postgres"
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) + 96 * 2**20
    async with small_disk(plant.folder / "disk", size) as disk:
        async with plant.outage("postgres", kill=False):  # a killed one's children write on for a moment
            shutil.move(home, disk / "postgres")
            home.symlink_to(disk / "postgres")
        try:
            yield disk
        finally:
            async with plant.outage("postgres", kill=False):
                home.unlink()
                shutil.move(disk / "postgres", home)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Nothing more can be written there."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65_536)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


async def _unmount(place: Path) -> None:
    """Whatever has just ended may hold the disk for a moment longer."""
    for _ in range(_LOOKS):
        code, _said = await _run("umount", str(place))
        if not code:
            return
        await asyncio.sleep(_LOOK_S)
    code, said = await _run("umount", "--lazy", str(place))
    assert 0 == code, said


async def _run(*command: str) -> tuple[int | None, str]:
    """The exit code, and what was said about it."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    return process.returncode, said.decode(errors="replace").strip()
