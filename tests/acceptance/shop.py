"""A project folder as a user has one, and the commands that he types in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vertebra.schemas.canonical import Json
from vertebra.services.state import Services, find_services

VERTEBRA = str(Path(sys.executable).parent / "vertebra")
"""The installed command."""
GRAPH = "customer-support"
_COMMAND_S = 180.0
_STOP_S = 90.0


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def plain(self) -> Json:
        """What `--json` gave."""
        value: Json = json.loads(self.out)
        return value

    def field(self, name: str) -> Json:
        value = self.plain
        assert isinstance(value, dict)
        return value[name]

    def rows(self, name: str | None = None) -> list[dict[str, Json]]:
        """A list of objects."""
        value = self.plain if name is None else self.field(name)
        assert isinstance(value, list)
        return [row for row in value if isinstance(row, dict)]


@dataclass(frozen=True)
class Shop:
    """One project folder."""

    folder: Path
    env: Mapping[str, str]

    def __call__(self, *words: str, **env: str) -> Said:
        """Type `vertebra WORDS` in the folder. An error is told in words: no command ever shows a traceback."""
        found = subprocess.run(
            [VERTEBRA, *words],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        assert "Traceback" not in found.stderr + found.stdout, found.stderr
        assert "defect of vertebra" not in found.stderr, found.stderr
        return Said(found.returncode, found.stdout, found.stderr)

    @property
    def services(self) -> Services:
        found = find_services(self.folder)
        assert found is not None
        return found

    def waiting(self, run: str) -> str:
        """The approval that a run waits for, as soon as it does."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            found = self("approvals", "list", "--run", run, "--json").rows()
            if found:
                return str(found[0]["id"])
            time.sleep(0.2)
        raise TimeoutError(f"{run} asks nobody")

    def show(self, run: str) -> dict[str, Json]:
        value = self("show", run, "--json").plain
        assert isinstance(value, dict)
        return value

    def sales(self, run: str) -> list[str]:
        """The call of each model reply that was sold to a run."""
        book = (self.folder / ".vertebra/sales.jsonl").read_text().splitlines()
        return [sale["call_id"] for sale in map(json.loads, book) if sale["run"] == run]


def opened(folder: Path) -> Shop:
    """A new project from the template."""
    env = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR", "XDG_CACHE_HOME") if name in os.environ}
    env |= {name: value for name, value in os.environ.items() if name.startswith(("VERTEBRA_", "COV"))}
    made = Shop(folder.parent, env)("init", folder.name)
    assert made.code == 0, made.err
    return Shop(folder, env)


@contextmanager
def open_for_business(shop: Shop, **env: str) -> Iterator[str]:
    """`vertebra dev` in another terminal, for the length of the block; gives what it said when it was up."""
    log = shop.folder.parent / f"{shop.folder.name}-dev.log"
    with log.open("w") as errors:
        dev = subprocess.Popen(
            [VERTEBRA, "dev", "--json"],
            cwd=shop.folder,
            env={**shop.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert dev.stdout is not None
        try:
            yield _answer(dev, log)
        finally:
            end(dev)
            dev.stdout.close()


def end(process: subprocess.Popen[str]) -> int:
    """Press Ctrl-C and wait."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def processes_in(folder: Path) -> list[str]:
    """Every process that works in this folder or names it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = os.readlink(place / "cwd")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended, or is another user's
        if str(folder) in words or where.startswith(str(folder)):
            found.append(f"{place.name} {words[:200]}")
    return found


def gone(folder: Path, patience_s: float = 60.0) -> bool:
    """Whether nothing works in the folder any more, soon."""
    deadline = time.monotonic() + patience_s
    while processes_in(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _answer(dev: subprocess.Popen[str], log: Path) -> str:
    """Its answer, one JSON document. It has a time limit by the test's own."""
    assert dev.stdout is not None
    lines: list[str] = []
    for line in dev.stdout:
        lines.append(line)
        if line == "}\n":
            return "".join(lines)
    raise AssertionError(f"vertebra dev ended: {log.read_text()}")
