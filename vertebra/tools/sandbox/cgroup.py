"""A control group around one job's process tree, where this machine lets us make one (version 2, else version 1).

Address space limits bound each process; only a group bounds all of a job's processes together.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vertebra.schemas.tool import Limits

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_NEEDED = frozenset({"memory", "pids"})
_EMPTY_WITHIN_S = 1.0
_PREFIX = "vertebra-"
_HEADROOM = 8
"""Processes of the launcher itself, beside those of the job."""


@dataclass(frozen=True)
class Group:
    """The folders of one job's group, one of version 2 or one per controller of version 1."""

    folders: tuple[Path, ...]

    @property
    def entries(self) -> tuple[Path, ...]:
        """A process that writes its id into each of these files is in the group, and so are its children."""
        return tuple(folder / "cgroup.procs" for folder in self.folders)

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed a process because the group's memory was used up."""
        return any(
            _kills(folder, name) > 0 for folder in self.folders for name in ("memory.events", "memory.oom_control")
        )


@dataclass(frozen=True)
class Parents:
    """Where groups for jobs may be made: the folders that were found writable."""

    folders: tuple[Path, ...]
    unified: bool

    @contextlib.contextmanager
    def group(self, name: str, limits: Limits) -> Iterator[Group]:
        """A group of this name that lasts as long as the block. Raises OSError if it cannot be made."""
        group = Group(tuple(folder / f"{_PREFIX}{os.getpid()}-{name}" for folder in self.folders))
        try:
            for folder in group.folders:
                folder.mkdir()
                self._limit(folder, limits)
            yield group
        finally:
            for folder in group.folders:
                _remove(folder)

    def _limit(self, folder: Path, limits: Limits) -> None:
        if (folder / "pids.max").exists():
            (folder / "pids.max").write_text(str(limits.processes + _HEADROOM))
        memory = folder / ("memory.max" if self.unified else "memory.limit_in_bytes")
        if memory.exists():
            memory.write_text(str(limits.memory_bytes))
        # version 1 counts memory and swap together, and takes it only after the memory limit
        for swap, value in (("memory.swap.max", 0), ("memory.memsw.limit_in_bytes", limits.memory_bytes)):
            if (folder / swap).exists():
                (folder / swap).write_text(str(value))


def find_parents(root: Path = _ROOT, own: Path = _OWN) -> Parents | None:
    """Where this process may make groups with a memory and a process limit, tried by making one; None = nowhere."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    paths = {name: path for _, names, path in lines for name in (names.split(",") if names else [""])}
    found = _unified(root, paths) or _version_1(root, paths)
    for folder in found.folders if found else ():
        _sweep(folder)
    return found


def _unified(root: Path, paths: dict[str, str]) -> Parents | None:
    """The nearest group above us that hands memory and process limits down to its children."""
    if "" not in paths:
        return None
    for folder in _upwards(root, paths[""]):
        control = folder / "cgroup.subtree_control"
        if control.is_file() and set(control.read_text().split()) >= _NEEDED and _usable([folder], unified=True):
            return Parents((folder,), unified=True)
    return None


def _version_1(root: Path, paths: dict[str, str]) -> Parents | None:
    folders = [root / name / paths[name].lstrip("/") for name in sorted(_NEEDED) if name in paths]
    if len(folders) == len(_NEEDED) and _usable(folders, unified=False):
        return Parents(tuple(folders), unified=False)
    return None


def _upwards(root: Path, path: str) -> Iterator[Path]:
    here = root / path.lstrip("/")
    while here.is_relative_to(root):
        yield here
        here = here.parent


def _usable(folders: Sequence[Path], *, unified: bool) -> bool:
    try:
        with Parents(tuple(folders), unified=unified).group("try", Limits()) as group:
            return all(os.access(entry, os.W_OK) for entry in group.entries)
    except OSError:
        return False


def _sweep(parent: Path) -> None:
    """Remove the groups of tool hosts that were killed."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):  # not empty, or another host was faster
                folder.rmdir()


def _kills(folder: Path, name: str) -> int:
    try:
        lines = (folder / name).read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _remove(folder: Path) -> None:
    """Remove a group, waiting a moment for its last killed processes to be gone."""
    give_up = time.monotonic() + _EMPTY_WITHIN_S
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > give_up:
                return  # it is empty of rights and limited as before; its parent's owner cleans up
            time.sleep(0.005)
