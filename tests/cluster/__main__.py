"""Run the integration suite on a real cluster: `python -m tests.cluster [PYTEST'S WORDS]`, or `make test-cluster`.

Builds what is missing, starts it, migrates it by `vertebra migrate`, runs the tests with the addresses as their only
difference, and stops what it started. The logs are kept where the tests failed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.plant import Addresses, clean_environment, running
from tests.cluster.programs import find_or_make
from tests.ground import DATABASE_URL, NAMESPACE, TEMPORAL_ADDRESS
from vertebra.schemas.errors import VertebraError
from vertebra.services.options import ServiceOptions
from vertebra.settings import variable

ROOT = Path(__file__).parents[2]
SUITE = ("tests/integration/runs", "tests/integration/workers", "tests/integration/store", "tests/contracts")
"""What talks to the servers by their addresses; the rest starts a laptop's own or needs none."""
LIMIT_S = 1500.0
"""The whole suite takes minutes: a cluster that hangs is told as such."""


async def main(words: list[str]) -> int:
    """The exit code of the tests."""
    options = ServiceOptions.from_environ(os.environ)
    began = time.monotonic()
    programs = await find_or_make(options, say)
    say(f"{programs.server.name} and {programs.schema_tool.name} are at hand after {time.monotonic() - began:.0f} s")
    folder = Path(tempfile.mkdtemp(prefix="vertebra-cluster-"))
    code = 1
    try:
        async with running(folder, options, programs, say) as addresses:
            await migrate(folder, addresses)
            say(f"the cluster is ready after {time.monotonic() - began:.0f} s")
            code = await run_suite(addresses, words)
    finally:
        if code:
            say(f"the logs are in {folder / 'logs'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


async def migrate(folder: Path, addresses: Addresses) -> None:
    """Schema, roles and search attributes, by the command that an operator types."""
    project = folder / "project"
    project.mkdir()
    (project / "vertebra.toml").write_text('name = "cluster"\n')
    settings = {
        variable("database_url"): addresses.database_url,
        variable("temporal_address"): addresses.temporal,
        variable("temporal_namespace"): addresses.namespace,
        variable("project"): str(project),
    }
    say("$ vertebra migrate")
    code = await _run([sys.executable, "-m", "vertebra.cli.main", "migrate"], settings, 120.0)
    if code:
        raise SystemExit(code)


async def run_suite(addresses: Addresses, words: list[str]) -> int:
    """Pytest over the suite; only the three addresses tell it from a run on the laptop's own servers."""
    settings = {
        TEMPORAL_ADDRESS: addresses.temporal,
        NAMESPACE: addresses.namespace,
        DATABASE_URL: addresses.database_url,
        "VERTEBRA_TEST_GO": "1",
    }
    command = [sys.executable, "-m", "pytest", *(words or SUITE)]
    say("$ " + " ".join(["pytest", *command[3:]]))
    return await _run(command, settings, LIMIT_S)


async def _run(command: list[str], settings: Mapping[str, str], limit_s: float) -> int:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**clean_environment(), **settings}, stdin=subprocess.DEVNULL
    )
    try:
        return await asyncio.wait_for(process.wait(), limit_s)
    except TimeoutError:
        say(f"not done after {limit_s:.0f} s")
        return 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def say(line: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"cluster: {line}\n")
    sys.stdout.flush()


def _stopped(number: int, frame: object) -> None:
    raise KeyboardInterrupt  # as by Ctrl-C: what was started is stopped


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stopped)
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except VertebraError as error:
        sys.exit(f"cluster: error: {error}")
