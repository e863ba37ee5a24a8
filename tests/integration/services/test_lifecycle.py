"""Death of a service, death of the supervisor, and the next start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from temporalio.client import Client

from vertebra.services import orphans, state
from vertebra.services.options import ServiceOptions
from vertebra.services.process import ChildSpec
from vertebra.services.state import Services
from vertebra.services.supervisor import Supervisor

pytestmark = [pytest.mark.server, pytest.mark.fault]

_PROGRAM = Path(__file__).with_name("run_supervisor.py")
_ROOT = Path(__file__).parents[3]
_OPTIONS = replace(ServiceOptions.from_environ(os.environ), usual_ports=False)


class Outside:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(folder), *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        assert self.process.stdout is not None
        self.services = Services.model_validate_json(self.process.stdout.readline())

    def end(self, number: signal.Signals) -> None:
        """Signal it and wait for its end."""
        self.process.send_signal(number)
        self.process.wait(90)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    """A supervisor whose services no other test uses: they are killed here."""
    async with Supervisor(tmp_path_factory.mktemp("own"), _OPTIONS) as running:
        yield running


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    running = Outside(tmp_path)
    yield running
    running.end(signal.SIGKILL)


async def _until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 (the kernel has no event for it)
            await asyncio.sleep(0.02)


def _alive(services: Services) -> list[str]:
    return [name for name, pid in services.pids.items() if orphans.started_at(pid) == services.started[name]]


async def _write(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("create table if not exists kept (n int)")
        await connection.execute("insert into kept values (7)")


async def _read(dsn: str) -> list[int]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        return [row[0] for row in await (await connection.execute("select n from kept")).fetchall()]


async def test_a_killed_postgres_comes_back_with_its_data(own: Supervisor) -> None:
    """After kill -9 the server is ready again at the same address, and what was acknowledged is there."""
    await _write(own.services.postgres_dsn)
    before = own.services

    own.kill("postgres")
    await own.wait_ready("postgres", 60)

    assert [7] == await _read(own.services.postgres_dsn)
    assert before.postgres_dsn == own.services.postgres_dsn
    assert before.pids["postgres"] != own.services.pids["postgres"]
    assert own.services == state.read(own.state)


async def test_a_killed_temporal_comes_back_with_its_runs(own: Supervisor) -> None:
    """After kill -9 a run that was started is still there, at the same address."""
    client = await Client.connect(own.services.temporal_address)
    await client.start_workflow("nobody-serves-it", id="kept", task_queue="none")

    own.kill("temporal")
    await own.wait_ready("temporal", 60)

    again = await Client.connect(own.services.temporal_address)
    assert "nobody-serves-it" == (await again.get_workflow_handle("kept").describe()).workflow_type
    await again.get_workflow_handle("kept").terminate()


async def test_what_is_added_is_kept_running(own: Supervisor) -> None:
    """A worker process is started again like the servers, and its pid stands in the file."""
    await own.add(ChildSpec("worker", ("/bin/sleep", "100"), {}))
    old = own.kill("worker")
    await own.wait_ready("worker", 30)

    found = state.find_services(own.state)

    assert found is not None
    assert old != found.pids["worker"] == own.child("worker").pid
    await own.remove("worker")
    assert "worker" not in own.services.pids


async def test_others_publish_their_addresses(own: Supervisor) -> None:
    """Logins and addresses that are added are found by everybody in the folder."""
    own.publish(dsns={"gate": "postgresql://gate"}, addresses={"api": "http://127.0.0.1:1"})

    found = state.find_services(own.state / "logs")

    assert found is not None
    assert ("postgresql://gate", "http://127.0.0.1:1") == (found.dsns["gate"], found.addresses["api"])


async def test_all_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """After kill -9 of the supervisor nothing runs on, not even a child that ignores signals; its file is stale."""
    outside = Outside(tmp_path, "stubborn")
    assert {"postgres", "temporal", "stubborn"} == set(_alive(outside.services))

    outside.end(signal.SIGKILL)

    await _until(lambda: not _alive(outside.services))
    assert state.find_services(outside.services.folder) is None


async def test_the_next_start_after_a_kill_has_the_data(outside: Outside) -> None:
    """A folder whose supervisor was killed starts again at once, without any help."""
    await _write(outside.services.postgres_dsn)
    outside.end(signal.SIGKILL)

    async with Supervisor(outside.services.folder.parent, _OPTIONS) as again:
        assert [7] == await _read(again.services.postgres_dsn)
        assert [] == _alive(outside.services)


def test_ctrl_c_stops_all(outside: Outside) -> None:
    """Ctrl-C ends every child in good order and leaves no file that says otherwise."""
    outside.end(signal.SIGINT)

    assert [] == _alive(outside.services)
    assert not (outside.services.folder / "services.json").exists()
    assert not (outside.services.folder / "postgres" / "cluster" / "postmaster.pid").exists()
