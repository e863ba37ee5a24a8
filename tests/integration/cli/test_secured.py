"""Temporal over TLS: who shows a certificate gets in, who does not is told why, and a key is told to nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.certificates import Authority, Pair
from tests.contracts.vendors.imitation import NO_NODE
from tests.integration.cli.frontdoor import NODE, proxy, stand_in
from tests.integration.cli.shell import Said, Shell
from tests.integration.runs.waits import ended, waiting
from tests.integration.workers.desk import until
from tests.stage import TEMPLATE
from tests.stores import Migrated
from vertebra.client.connection import Address, connect
from vertebra.client.temporal import has_worker, wake
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import StoreError
from vertebra.settings import load
from vertebra.workers.build import working
from vertebra.workers.frontend import address_of
from vertebra.workers.main import connect as connect_worker

pytestmark = pytest.mark.server

CANARY = "tc-canary-5fd1c0a97b"
NAME = "temporal.test"
REFUND = json.loads((TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()[3])


@dataclass(frozen=True)
class Door:
    """The session's Temporal behind mTLS, and what opens it."""

    shell: Shell
    address: str
    authority: Authority
    client: Pair
    gate_dsn: str

    def settings(self, **changes: str | None) -> dict[str, str]:
        """What a person sets to get in; None leaves one out."""
        line: dict[str, str | None] = {
            "ADDRESS": self.address,
            "TLS": "true",
            "TLS_CA": str(self.authority.cert),
            "TLS_CERT": str(self.client.cert),
            "TLS_KEY": str(self.client.key),
            "TLS_SERVER_NAME": NAME,
        }
        given = {name: value for name, value in (line | changes).items() if value is not None}
        line_only = {f"VERTEBRA_TEMPORAL_{name}": value for name, value in given.items()}
        return {**self.shell.environ, "VERTEBRA_GATE_DSN": self.gate_dsn, **line_only}

    def with_(self, **changes: str | None) -> Shell:
        return replace(self.shell, environ=self.settings(**changes))

    def to(self, **changes: str | None) -> Address:
        return address_of(load(self.shell.project, self.settings(**changes)).settings)


@pytest.fixture
async def door(shell: Shell, migrated: Migrated, tmp_path: Path) -> AsyncIterator[Door]:
    authority = Authority(tmp_path, "authority")
    server, client = authority.signs(NAME), authority.signs("client")
    async with proxy(server, authority, shell.stage.client.service_client.config.target_host) as address:
        yield Door(shell, address, authority, client, migrated.dsn("vertebra_gate"))


def checked(said: Said, name: str = "temporal") -> tuple[Json, str]:
    checks = said.fields["checks"]
    assert isinstance(checks, list)
    [found] = [one for one in checks if isinstance(one, dict) and one["name"] == name]
    return found["state"], str(found["detail"])


async def test_who_shows_a_certificate_gets_in(door: Door) -> None:
    """Through mTLS the doctor is answered, a worker takes runs, and a command wakes its run."""
    shell = door.with_()
    host = "behind-tls"

    client = await connect_worker(load(shell.project, shell.environ).settings)
    async with working(client, replace(shell.stage.world, worker=f"1@{host}")):
        await until(lambda: has_worker(door.to(), host=host))
        said = await shell.call("doctor", "--json")
        handle = await shell.stage.start(shell.stage.support, REFUND)
        decided = await shell.done("approve", (await waiting(handle.id, shell.stage, "approval"))["ref"], "--json")
        await ended(handle, shell.stage)

    state, detail = checked(said, "temporal security")
    assert ("ok", True) == (state, "client certificate until" in detail)
    assert ("ok", True) == (checked(said)[0], "a worker asks for runs" in checked(said)[1])
    assert decided.fields["woken"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"TLS_CERT": None, "TLS_KEY": None}, "refused this client, which shows no certificate"),
        ({"TLS_SERVER_NAME": None}, "set VERTEBRA_TEMPORAL_TLS_SERVER_NAME"),
        ({"TLS_CA": None}, "name the file of the authority that signed it: VERTEBRA_TEMPORAL_TLS_CA"),
        (
            dict.fromkeys(("TLS", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_SERVER_NAME")),
            "set VERTEBRA_TEMPORAL_TLS=true",
        ),
    ],
)
async def test_who_does_not_is_told_why(door: Door, changes: Mapping[str, str | None], told: str) -> None:
    """Without certificate, name, authority or TLS: the doctor and every client name what is wrong and the variable."""
    shell = door.with_(**changes)

    said = await shell.call("doctor", "--json")
    health = await shell.call("worker", "--check")
    with pytest.raises(StoreError, match=told):
        await connect_worker(load(shell.project, shell.environ).settings)
    woken = await wake(door.to(**changes), "nobody")

    assert (1, "wrong") == (said.code, checked(said)[0])
    assert told in checked(said)[1]
    assert (4, True) == (health.code, told in health.err)
    assert not woken


async def test_a_certificate_of_somebody_else_is_refused(door: Door, tmp_path: Path) -> None:
    """A certificate that the server's authority has not signed is named by its file."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "others").signs("client")

    with pytest.raises(StoreError, match=f"refused the client certificate in {stranger.cert}"):
        await connect(door.to(TLS_CERT=str(stranger.cert), TLS_KEY=str(stranger.key)))


async def test_a_server_without_tls_is_told_apart(door: Door) -> None:
    """TLS towards a server that speaks none is no dead server."""
    plain = door.shell.stage.client.service_client.config.target_host

    with pytest.raises(StoreError, match="what answers there speaks none"):
        await connect(door.to(ADDRESS=plain))


async def test_a_missing_file_is_wrong_before_anybody_is_asked(door: Door) -> None:
    """The doctor names variable and file; a command that has signed says that its row counts all the same."""
    door.client.cert.unlink()
    shell = door.with_()

    said = await shell.call("doctor", "--json")
    handle = await shell.stage.start(shell.stage.support, REFUND)
    decided = await shell.done("approve", (await waiting(handle.id, shell.stage, "approval"))["ref"])

    assert 1 == said.code
    assert "wrong" == checked(said, "temporal security")[0]
    assert "VERTEBRA_TEMPORAL_TLS_CERT" in checked(said, "temporal security")[1]
    assert str(door.client.cert) in checked(said, "temporal security")[1]
    assert "missing" == checked(said)[0]
    assert "the row is written" in decided.err
    await shell.stage.wake(handle.id)
    await ended(handle, shell.stage)


@pytest.mark.skipif(NODE is None, reason=NO_NODE)
@pytest.mark.parametrize("key", [CANARY, f"{CANARY}-of-another"])
@pytest.mark.parametrize("asks_all", [True, False])
async def test_an_api_key_is_sent_and_told_to_nobody(
    door: Door, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, key: str, asks_all: bool
) -> None:
    """Every request bears the key; no output, log or error does, though the server says a wrong one back."""
    caplog.set_level(logging.DEBUG)
    right = key == CANARY
    server = door.authority.signs(NAME)
    with stand_in(server, CANARY, asks_all=asks_all) as there:
        line = door.settings(ADDRESS=there.address, TLS_CERT=None, TLS_KEY=None, API_KEY="secret://env/CLOUD_KEY")
        shell = replace(door.shell, environ={**line, "CLOUD_KEY": key})
        said = [await shell.call(*words) for words in (("doctor", "--json"), ("worker", "--check"), ("migrate",))]
        worker = await _worker(shell)
        heard = there.heard()

    assert {f"Bearer {key}"} == {headers["authorization"] for headers in heard}
    state, detail = checked(said[0])
    assert ("ok" if right else "wrong", not right) == (state, "does not let this client in" in detail)
    assert [4, 0 if right else 4] == [one.code for one in said[1:]]
    assert right != ("VERTEBRA_TEMPORAL_API_KEY" in worker)
    everything = f"{said}{worker}{capfd.readouterr()}{caplog.text}"
    assert "secret://env/CLOUD_KEY" in everything
    assert CANARY not in everything


async def _worker(shell: Shell) -> str:
    """What a worker's process says that cannot begin: it is not let in, or the namespace lacks the attributes."""
    words = (sys.executable, "-P", "-m", "vertebra.cli.main", "--project", str(shell.project), "worker")
    told = asyncio.subprocess.PIPE
    environ = {**os.environ, **shell.environ, "VERTEBRA_LOG_LEVEL": "debug"}
    process = await asyncio.create_subprocess_exec(*words, env=environ, stdout=told, stderr=told)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode in (2, 4), err
    return f"{out.decode()}{err.decode()}"
