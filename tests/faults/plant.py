"""Servers and worker processes of the fault tests' own, so that they may be killed without hurting other tests."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import LiteralString, TypeVar

import yaml
from psycopg import OperationalError
from psycopg_pool import AsyncConnectionPool
from temporalio.client import Client

from tests.stage import AUDIT_SECRET, SEAL_SECRET, TEMPLATE, Stage
from tests.stores import Migrated
from vertebra.activities.world import World
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import StoreError
from vertebra.schemas.graph import CompiledGraph
from vertebra.services.options import ServiceOptions
from vertebra.services.process import ChildSpec
from vertebra.services.supervisor import Supervisor
from vertebra.settings import Limits
from vertebra.store.transaction import Row
from vertebra.workers.build import DEFAULTS, working
from vertebra.workers.keeper import Keeper, Times

REPOSITORY = Path(__file__).parent.parent.parent
OUTAGE_S = 60.0
"""How long a test waits for a server that it has killed."""
SOON_S = 0.3
TIMES = Times(unseen_s=0.5, untouched_s=3.0, orphans_s=1.0)
"""A keeper in a hurry."""
TICKETS: list[dict[str, Json]] = [
    json.loads(line) for line in (TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()[:10]
]
T = TypeVar("T")


@dataclass
class Plant:
    """Everything that may be killed, and a stage beside it that looks at what is left."""

    supervisor: Supervisor
    migrated: Migrated
    stage: Stage
    folder: Path

    def project(self, replies: Mapping[str, Json]) -> Path:
        """A project folder for worker processes: the template with these replies and the stage's keys."""
        place = self.folder / "project"
        if not place.exists():
            shutil.copytree(TEMPLATE, place)
            keys = place / ".vertebra/keys"
            keys.mkdir(parents=True, mode=0o700)
            for name, secret in (("audit.key", AUDIT_SECRET), ("seal.key", SEAL_SECRET)):
                with os.fdopen(os.open(keys / name, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                    file.write(secret.hex() + "\n")
        for node, entries in replies.items():
            (place / f"replies/{node}.yaml").write_text(yaml.safe_dump(entries, allow_unicode=True))
        return place

    @asynccontextmanager
    async def worker(
        self,
        project: Path,
        name: str = "worker",
        settings: Mapping[str, str] | None = None,
        argv: tuple[str, ...] | None = None,
    ) -> AsyncIterator[str]:
        """One worker process, started again when it is killed, for the length of the block.

        `argv`: another program that becomes one, started in the project folder.
        """
        env = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "PYTHONPATH": str(REPOSITORY),
            "VERTEBRA_GATE_DSN": self.migrated.dsn("vertebra_gate"),
            "VERTEBRA_TEMPORAL_ADDRESS": self.supervisor.services.temporal_address,
            "VERTEBRA_MAILDIR": str(self.stage.world.maildir),
            "VERTEBRA_SALES": str(self.stage.sales),
            **(settings or {}),
        }
        cwd = REPOSITORY if argv is None else project
        argv = argv or (sys.executable, "-m", "tests.faults.run_worker", str(project))
        await self.supervisor.add(ChildSpec(name, argv, env, cwd=cwd))
        try:
            yield name
        finally:
            await self.supervisor.remove(name)

    def hurry(self) -> None:
        """Have whatever is killed start again soon, however often it is: else it starts ever later."""
        for name in self.supervisor.names:
            child = self.supervisor.child(name)
            child.spec = replace(child.spec, longest_delay_s=SOON_S)

    @asynccontextmanager
    async def at_work(
        self, world: World | None = None, client: Client | None = None, limits: Limits = DEFAULTS
    ) -> AsyncIterator[None]:
        """A worker and its keeper in this process, over this world and client or the stage's own."""
        world, client = world or self.stage.world, client or self.stage.client
        async with working(client, world, limits):
            keeping = asyncio.create_task(Keeper(world, client, TIMES).run())
            try:
                yield
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)

    @asynccontextmanager
    async def outage(self, name: str, kill: bool = True, env: Mapping[str, str] | None = None) -> AsyncIterator[None]:
        """A server that is gone for the length of the block, and back with the same data and port after it.

        `env`: what its environment is from then on.
        """
        spec = self.supervisor.child(name).spec
        if kill:
            self.supervisor.kill(name)
        await self.supervisor.remove(name)
        try:
            yield
        finally:
            await self.supervisor.add(spec if env is None else replace(spec, env=env))
            for pool in (self.stage.owner, self.stage.api, self.stage.world.pool):
                if isinstance(pool, AsyncConnectionPool):
                    await pool.check()

    async def publish(self, text: str) -> CompiledGraph:
        """Publish a graph of a test's own; connections may be stale from an earlier outage."""
        graph = self.stage.compile(text)
        await patiently(lambda: self.stage.publish(graph))
        return graph

    async def sql(self, text: LiteralString, **params: object) -> list[Row]:
        """As the stage's, patient while Postgres is away."""
        return await patiently(lambda: self.stage.sql(text, **params))


async def patiently(act: Callable[[], Awaitable[T]]) -> T:
    """Try until the servers are back."""
    deadline = time.monotonic() + OUTAGE_S
    while True:
        try:
            return await act()
        except (StoreError, OperationalError):  # the second where a new connection is refused
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


def slowed_replies(least_ms: int, most_ms: int) -> dict[str, Json]:
    """The template's replies, each after a while, so that faults hit calls in flight."""
    chance = random.Random(least_ms)
    replies: dict[str, Json] = {}
    for path in sorted((TEMPLATE / "replies").glob("*.yaml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        replies[path.stem] = [entry | {"delay": f"{chance.randint(least_ms, most_ms)}ms"} for entry in entries]
    return replies


def options() -> ServiceOptions:
    """As the session's own, without a Web UI."""
    given = ServiceOptions.from_environ(os.environ)
    return ServiceOptions(**{**vars(given), "web_ui": False, "usual_ports": False})
