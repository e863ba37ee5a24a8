"""`@copilotkit/aimock`, an imitation of the vendors on the wire: installed once, one process a session."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vertebra.schemas.canonical import Json

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
_PROGRAM = "node_modules/@copilotkit/aimock/dist/cli.js"
_FIRST: Json = {"fixtures": [{"match": {"userMessage": "never said"}, "response": {"content": "nothing"}}]}
_OLDEST = 20
"""The oldest major release that package.json allows; on an older one the imitation ends as it begins."""
_DO = f"install {_OLDEST} or newer (Debian 13: apt-get install nodejs npm)"
NO_NODE = f"not run: no node; {_DO}"


class NotInstalled(Exception):
    """The imitation is not there, and why."""


def folder() -> Path:
    """Where this version of it is kept: the lock file names every byte of it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vertebra" / f"aimock-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"


def found() -> Path:
    """Its program. Raises NotInstalled."""
    _check_node()
    program = folder() / _PROGRAM
    if not program.is_file():
        raise NotInstalled(f"not run: no @copilotkit/aimock in {folder()}; the beginning of this session says why")
    return program


def _check_node() -> None:
    """Raises NotInstalled."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalled(NO_NODE)
    version = subprocess.run(
        ("node", "--version"), capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < _OLDEST:
        raise NotInstalled(f"not run: node {version} is too old; {_DO}")


def install() -> None:
    """Have it at hand. Raises NotInstalled. Takes seconds, and the network, the first time; nothing after that."""
    home = folder()
    _check_node()
    if (home / _PROGRAM).is_file():
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="aimock-") as half:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, half)
        words = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        done = subprocess.run(words, cwd=half, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise NotInstalled(f"not run: no @copilotkit/aimock: npm ci failed: {done.stderr.strip()[-500:]}")
        try:
            Path(half).rename(home)
        except OSError:
            if not (home / _PROGRAM).is_file():  # else another session was quicker
                raise
            return
        Path(half).mkdir()  # what the end of the block removes


class Imitation:
    """The running process, by its control interface."""

    def __init__(self, url: str) -> None:
        self.url = url

    def answers(self, response: dict[str, Json], chaos: dict[str, Json] | None = None) -> None:
        """Give this to every request from now on."""
        fixture: dict[str, Json] = {"match": {}, "response": response}
        if chaos:
            fixture["chaos"] = chaos
        self.reset()
        self._control("POST", "fixtures", {"fixtures": [fixture]})

    def reset(self) -> None:
        """Forget fixtures and requests."""
        self._control("POST", "reset", {})

    def asked(self) -> int:
        """How many requests came since."""
        found = self._control("GET", "journal", None)
        assert isinstance(found, list)
        return len(found)

    def _control(self, method: str, path: str, body: Json) -> Json:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/__aimock/{path}", data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            read: Json = json.loads(answer.read() or b"null")
        return read


@contextmanager
def running(program: Path, home: Path) -> Iterator[Imitation]:
    """One process on a port of the kernel's choice, gone at the end."""
    fixtures = home / "fixtures.json"
    fixtures.write_text(json.dumps(_FIRST))
    said = home / "aimock.log"
    with said.open("wb") as log:
        words = ("node", str(program), "--port", "0", "--host", "127.0.0.1", "--fixtures", str(fixtures))
        process = subprocess.Popen(words, cwd=home, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield Imitation(_listening(process, said))
    finally:
        process.kill()
        process.wait()


def _listening(process: subprocess.Popen[bytes], said: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        _, found, rest = said.read_text(encoding="utf-8", errors="replace").partition("listening on ")
        if found and rest.strip():
            return rest.split()[0]
        time.sleep(0.05)
    raise NotInstalled(f"the imitation did not start: {said.read_text(errors='replace')[-500:]}")
