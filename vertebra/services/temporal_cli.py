"""Where the `temporal` binary comes from: the setting, PATH, our cache, the SDK's download, a Go build."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from vertebra.boundary.signalling import kill
from vertebra.schemas.errors import ServiceFailed, SettingsError
from vertebra.services import cache, go_build, sdk_download
from vertebra.services.options import ServiceOptions

Progress = Callable[[str], None]
_OLDEST_SERVER = (1, 29)
_VERSION_TIMEOUT_S = 20.0
_SERVER = re.compile(r"Server (\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class TemporalCli:
    """A binary that runs."""

    path: Path
    server_version: str
    """Its own `version` says 0.0.0-DEV where Go has built it: the server's counts."""


async def find_or_make(options: ServiceOptions, progress: Progress) -> TemporalCli:
    """The first that runs, in the order of the module's first line. Raises SettingsError saying what was tried."""
    if options.temporal_cli is not None:
        return await _the_given(options.temporal_cli)
    on_path = shutil.which("temporal", path=options.path)
    if on_path is not None:
        found = await _if_usable(Path(on_path), progress)
        if found is not None:
            return found
    cached = await _cached(options, progress)
    return cached or await _make(options, progress)


def cached_names() -> tuple[str, ...]:
    """The names in the cache folder, each with the version it stands for."""
    return (f"temporal-{go_build.CLI.version}", f"temporal-sdk-{version('temporalio')}")


async def _the_given(path: Path) -> TemporalCli:
    try:
        return await _inspect(path)
    except ServiceFailed as error:
        raise SettingsError(
            f"VERTEBRA_TEMPORAL_CLI names {str(path)!r}, which cannot be used: {error.message}",
            do="name a `temporal` binary with server 1.29 or newer, or unset the variable",
        ) from error


async def _cached(options: ServiceOptions, progress: Progress) -> TemporalCli | None:
    for name in cached_names():
        if (options.cache / name).exists():
            found = await _if_usable(options.cache / name, progress)
            if found is not None:
                return found
    return None


async def _make(options: ServiceOptions, progress: Progress) -> TemporalCli:
    async with cache.alone(options.cache, progress):
        made_meanwhile = await _cached(options, progress)
        if made_meanwhile is not None:
            return made_meanwhile
        built, downloaded = cached_names()
        reasons = []
        for allowed, make, name in (
            (options.may_download, sdk_download.download, downloaded),
            (options.may_build, go_build.build, built),
        ):
            if not allowed:
                continue
            try:
                return await _made(make, options, options.cache / name, progress)
            except ServiceFailed as error:
                reasons.append(error.message)
                progress(error.message)
        raise _nothing(reasons)


async def _made(
    make: Callable[[ServiceOptions, Path, Progress], Awaitable[None]],
    options: ServiceOptions,
    target: Path,
    progress: Progress,
) -> TemporalCli:
    await make(options, target, progress)
    return await _inspect(target)


def _nothing(reasons: list[str]) -> SettingsError:
    return SettingsError(
        "there is no `temporal` program on this machine, and none could be fetched: " + "; ".join(reasons),
        do="install Go 1.25 or newer, or put `temporal` on PATH, or set VERTEBRA_TEMPORAL_CLI to one",
    )


async def _if_usable(path: Path, progress: Progress) -> TemporalCli | None:
    try:
        return await _inspect(path)
    except ServiceFailed as error:
        progress(f"{path} is passed over: {error.message}")
        return None


async def _inspect(path: Path) -> TemporalCli:
    """Run `--version`. Raises ServiceFailed if it does not run or its server is too old."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(path),
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise ServiceFailed(f"it does not start: {error.strerror}", at=path) from error
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _VERSION_TIMEOUT_S)
    except TimeoutError:
        kill(process)
        await process.communicate()
        raise ServiceFailed(f"`--version` took more than {_VERSION_TIMEOUT_S:g} s", at=path) from None
    found = _SERVER.search(output.decode(errors="replace"))
    if process.returncode or found is None:
        raise ServiceFailed("`--version` names no server: this is not Temporal's CLI", at=path)
    numbers = tuple(int(part) for part in found.groups())
    if numbers[:2] < _OLDEST_SERVER:
        raise ServiceFailed(f"its server is {found.group()[7:]}, and 1.29 or newer is needed", at=path)
    return TemporalCli(path, found.group()[7:])
