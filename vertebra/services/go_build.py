"""Builds Temporal's programs with Go: minutes and gigabytes, of which only the binaries are kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vertebra.schemas.errors import ServiceFailed
from vertebra.services import folder
from vertebra.services.launch import Launch
from vertebra.services.options import ServiceOptions

PREFIX = "build-"
_NEEDED_BYTES = 4 * 1024**3
_OLDEST_GO = (1, 25)
_SILENCE_S = 600.0
_TELL_EVERY_S = 5.0
_GO_VERSION = re.compile(r"go(\d+)\.(\d+)")


@dataclass(frozen=True)
class Recipe:
    """Commands of one module at one version, which one build gives."""

    name: str
    """What people call it."""
    version: str
    packages: tuple[str, ...]

    @property
    def built(self) -> tuple[str, ...]:
        """The names that Go gives to the binaries."""
        return tuple(package.rpartition("/")[2] for package in self.packages)


CLI = Recipe("the Temporal server", "v1.5.1", ("github.com/temporalio/cli/cmd/temporal",))
"""The newest that `go install` takes: later ones carry a `replace` in go.mod, which it refuses."""


async def build(options: ServiceOptions, target: Path, progress: Callable[[str], None]) -> None:
    """Put Temporal's CLI at `target`. Raises ServiceFailed or DiskFull; then nothing is left."""
    await build_all(options, CLI, {"temporal": target}, progress)


async def build_all(
    options: ServiceOptions, recipe: Recipe, targets: Mapping[str, Path], progress: Callable[[str], None]
) -> None:
    """Put each binary of the recipe at its target, all of them or none. Raises ServiceFailed or DiskFull.

    Whoever calls holds the cache (`cache.alone`): what lies in it under our prefix counts as left by a killed build.
    """
    go = await _find_go(options)
    folder.check_space(options.cache, _NEEDED_BYTES)
    progress(f"building {recipe.name} {recipe.version} with Go, once: this takes two to three minutes")
    fresh = Path(tempfile.mkdtemp(prefix=PREFIX, dir=options.cache))
    try:
        with folder.full_disk_named(options.cache):
            await _install(go, recipe, _env(options, fresh), options, progress)
            for name in recipe.built:
                os.replace(fresh / "bin" / name, targets[name])
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


async def _find_go(options: ServiceOptions) -> str:
    go = shutil.which("go", path=options.path)
    if go is None:
        raise ServiceFailed("there is no Go to build it with")
    process = await asyncio.create_subprocess_exec(
        go,
        "env",
        "GOVERSION",
        env=_env(options, options.cache),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    found = _GO_VERSION.search(output.decode(errors="replace"))
    if found is None or (int(found[1]), int(found[2])) < _OLDEST_GO:
        raise ServiceFailed(f"Go is {found.group() if found else 'unusable'}, and 1.25 or newer is needed to build it")
    return go


def _env(options: ServiceOptions, fresh: Path) -> dict[str, str]:
    return {
        **options.build_env,
        "PATH": options.path,
        "GOPATH": str(fresh),
        "GOCACHE": str(fresh / "cache"),
        "GOTMPDIR": str(fresh),
        "GOBIN": str(fresh / "bin"),
        "GOFLAGS": "",  # a user's own, such as -mod=vendor, would break it
        "GOTELEMETRY": "off",
        "CGO_ENABLED": "0",
    }


async def _install(
    go: str, recipe: Recipe, env: Mapping[str, str], options: ServiceOptions, progress: Callable[[str], None]
) -> None:
    wanted = (f"{package}@{recipe.version}" for package in recipe.packages)
    command = (go, "install", "-v", "-modcacherw", "-trimpath", "-buildvcs=false", *wanted)
    process = await asyncio.create_subprocess_exec(
        *Launch.on(options.path).argv(command),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        process_group=0,
    )
    try:
        said = await _follow(process, recipe.name, progress)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        raise _failed(said, process.returncode, options.cache)


async def _follow(process: asyncio.subprocess.Process, name: str, progress: Callable[[str], None]) -> list[str]:
    """Read Go's output to its end, telling now and then how far it is. Returns its last lines."""
    assert process.stdout is not None
    said: deque[str] = deque(maxlen=8)
    began = told = time.monotonic()
    modules = packages = 0
    reading = asyncio.ensure_future(process.stdout.readline())
    heard = began
    while True:
        await asyncio.wait([reading], timeout=_TELL_EVERY_S)
        now = time.monotonic()
        if reading.done():
            line = reading.result().decode(errors="replace").strip()
            if not reading.result():
                return list(said)
            said.append(line)
            heard = now
            modules += line.startswith("go: downloading ")
            packages += not line.startswith("go: ")
            reading = asyncio.ensure_future(process.stdout.readline())
        elif now - heard > _SILENCE_S:
            reading.cancel()
            raise ServiceFailed(f"the Go build said nothing for {_SILENCE_S:g} s")
        if now - told >= _TELL_EVERY_S:
            told = now
            progress(f"building {name}: {now - began:.0f} s, {_stage(modules, packages)}")


def _stage(modules: int, packages: int) -> str:
    return f"compiled {packages} packages" if packages else f"downloaded {modules} modules"


def _failed(said: list[str], code: int, cache: Path) -> Exception:
    text = " | ".join(line for line in said if not line.startswith("go: downloading "))
    if "no space left on device" in text:
        return folder.disk_full(cache, _NEEDED_BYTES, shutil.disk_usage(cache).free)
    return ServiceFailed(f"the Go build failed (exit code {code}): {text[-600:]}")
