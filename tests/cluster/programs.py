"""The programs of a real cluster: Temporal's server and schema tool from Go, and a Postgres that has btree_gin."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vertebra.schemas.errors import SettingsError
from vertebra.services import cache, go_build, temporal_cli
from vertebra.services.go_build import Recipe
from vertebra.services.options import ServiceOptions

SERVER = Recipe(
    "Temporal's cluster server",
    "v1.29.1",
    ("go.temporal.io/server/cmd/server", "go.temporal.io/server/cmd/tools/sql"),
)
"""The newest release line that the laptop's server has too, so that one suite runs on both."""
_DEBIAN = Path("/usr/lib/postgresql")
_SHARED = Path("/usr/share/postgresql")
_EXTENSION = "btree_gin"


@dataclass(frozen=True)
class Programs:
    """Where each of them is."""

    server: Path
    schema_tool: Path
    """The schemas of every release are embedded in it."""
    cli: Path
    postgres: Path
    """The folder of `initdb` and `postgres`."""
    postgres_version: int


async def find_or_make(options: ServiceOptions, progress: Callable[[str], None]) -> Programs:
    """Everything, built or installed where it is missing. Raises SettingsError, ServiceFailed, DiskFull."""
    version, binaries = _postgres(progress)
    targets = {name: options.cache / f"temporal-{name}-{SERVER.version}" for name in SERVER.built}
    async with cache.alone(options.cache, progress):
        if not all(target.exists() for target in targets.values()):
            await go_build.build_all(options, SERVER, targets, progress)
    cli = await temporal_cli.find_or_make(options, progress)
    return Programs(targets["server"], targets["sql"], cli.path, binaries, version)


def _postgres(progress: Callable[[str], None]) -> tuple[int, Path]:
    found = _installed()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        progress("installing Debian's postgresql, which Temporal's visibility schema needs")
        _install()
        found = _installed()
    if found is None:
        raise SettingsError(
            f"there is no Postgres with the extension {_EXTENSION} under {_DEBIAN}",
            do="install it: apt-get install postgresql",
        )
    return found


def _installed() -> tuple[int, Path] | None:
    """The newest one that knows the extension: the wheel's Postgres, vertebra's own, does not."""
    known = [
        (int(folder.name), folder / "bin")
        for folder in _DEBIAN.glob("[0-9]*")
        if (folder / "bin" / "postgres").is_file()
        and (_SHARED / folder.name / "extension" / f"{_EXTENSION}.control").is_file()
    ]
    return max(known, default=None)


def _install() -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "postgresql"]):
        subprocess.run(["apt-get", *words], env=env, check=True, stdin=subprocess.DEVNULL, timeout=600)
