"""The commands of a production without `vertebra dev`: a worker's health, and keys."""

from __future__ import annotations

import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.integration.cli.shell import Shell
from tests.integration.workers.desk import until
from tests.stores import Migrated
from vertebra.client.connection import Address
from vertebra.client.temporal import has_worker
from vertebra.settings import PREFIX
from vertebra.workers.build import working
from vertebra.workers.plugin import plugin

pytestmark = pytest.mark.server


def address_of(shell: Shell) -> Address:
    client = shell.stage.client
    return Address(client.service_client.config.target_host, client.namespace)


async def test_a_working_worker_is_healthy(shell: Shell, migrated: Migrated) -> None:
    """`worker --check` asks Postgres as the gate, and Temporal for a worker of this host."""
    settings = {**shell.environ, PREFIX + "GATE_DSN": migrated.dsn("vertebra_gate")}

    host = socket.gethostname()
    mine = Shell(shell.stage, shell.project, settings)

    before = await mine.call("worker", "--check")
    address = address_of(shell)
    client = await Client.connect(address.address, namespace=address.namespace, plugins=[plugin()])
    async with working(client, replace(shell.stage.world, worker=f"1@{host}")):
        await until(lambda: has_worker(address, host=host))
        said = await mine.done("worker", "--check", "--json")

    assert (4, True) == (before.code, f"no worker of {host}" in before.err)
    assert {"host": host, "working": True} == said.json


async def test_a_worker_elsewhere_does_not_count(shell: Shell) -> None:
    """The health of one host says nothing of another's."""
    assert not await has_worker(address_of(shell), host="elsewhere")
    assert await has_worker(address_of(shell))


async def test_keys_are_made_once(shell: Shell, tmp_path: Path) -> None:
    """A worker's keys and a person's are private files, and are not made again; the list shows nothing secret."""
    settings = {**shell.environ, PREFIX + "KEYS": str(tmp_path / "keys")}
    mine = Shell(shell.stage, shell.project, settings)

    first = [await mine.call("keys", "make"), await mine.call("keys", "make", "--person", "eve", "--json")]
    before = {path: path.read_text() for path in (tmp_path / "keys").rglob("*.key")}
    again = [await mine.call("keys", "make"), await mine.call("keys", "make", "--person", "eve", "--json")]
    listed = await mine.call("keys", "list")

    assert [0, 0, 0, 0] == [said.code for said in (*first, *again)]
    assert {"seal.key", "audit.key", "eve.key"} == {path.name for path in before}
    assert before == {path: path.read_text() for path in before}
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in before}
    assert again[1].json == first[1].json
    assert not any(secret.strip() in listed.out for secret in before.values())
    assert ["seal", "audit", "eve"] == [line.split()[0] for line in listed.out.splitlines()[1:]]
