"""A cluster of four Temporal services on Postgres, and vertebra's own Postgres beside it, for as long as it is held."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tests.cluster import config
from tests.cluster.config import DEPLOY, Database, ServicePorts
from tests.cluster.programs import Programs
from vertebra.schemas.errors import ServiceFailed
from vertebra.services import ports, postgres
from vertebra.services.guard import Guard
from vertebra.services.launch import Launch
from vertebra.services.logfile import LogFile
from vertebra.services.options import ServiceOptions
from vertebra.services.ports import LOOPBACK
from vertebra.services.process import Child, ChildSpec

NAMESPACE = "vertebra-test"
"""Not the name that everything has by default: what does not heed the setting is found out."""
_FIRST = "history"
_PROBE_S = 5.0
_NAMESPACE_S = 60.0


@dataclass(frozen=True)
class Addresses:
    """What the settings of a production name."""

    temporal: str
    namespace: str
    database_url: str


@dataclass
class Plant:
    """What runs, started one by one and stopped in reverse."""

    folder: Path
    options: ServiceOptions
    programs: Programs
    progress: Callable[[str], None]
    stack: AsyncExitStack
    guard: Guard = field(default_factory=lambda: Guard(lambda: None))

    @property
    def launch(self) -> Launch:
        return Launch.on(self.options.path)

    @property
    def env(self) -> dict[str, str]:
        # a Go program built without C asks the environment who runs it
        return {"USER": "vertebra", "HOME": str(self.folder), **self.options.child_env}

    async def add(self, spec: ChildSpec) -> None:
        """Start a child that ends with us, kill -9 included. Raises ServiceFailed with its last words."""
        child = Child(spec, LogFile(self.folder / "logs" / f"{spec.name}.log"), self.guard)
        self.stack.push_async_callback(child.stop)
        await child.start()

    async def postgres(self, name: str, version: int, binaries: Path | None = None) -> tuple[postgres.Cluster, int]:
        """A fresh Postgres of its own."""
        state = self.folder / name
        state.mkdir(mode=0o700)
        cluster = postgres.open_or_create(state, version, self.launch, binaries)
        self.stack.callback(postgres.remove_socket_folder, cluster)
        port = ports.pick(0)

        async def ready() -> bool:
            return await postgres.is_ready(cluster, port)

        await self.add(ChildSpec(name, self.launch.postgres(cluster.argv(port)), self.env, ready, cwd=self.folder))
        said = await postgres.server_version(cluster.dsn(port, "postgres"))
        self.progress(f"{name}: Postgres {said} at {LOOPBACK}:{port}")
        return cluster, port

    async def prepare(self, superuser_dsn: str, password: str) -> None:
        """Temporal's login and databases, as a production makes them."""
        psql = str(self.programs.postgres / "psql")
        words = (psql, "-X", "-q", "-d", superuser_dsn, "-f", str(DEPLOY / "postgres" / "init.sql"))
        await self._do(words, {"TEMPORAL_DB_PASSWORD": password})

    async def schemas(self, database: Database) -> None:
        """Both databases, brought to the server's release by its own tool; twice, for that must change nothing."""
        env = {
            "SQL_HOST": LOOPBACK,
            "SQL_PORT": str(database.port),
            "SQL_USER": database.user,
            "SQL_PASSWORD": database.password,
        }
        for _ in range(2):
            await self._do(("sh", str(DEPLOY / "temporal" / "schema.sh")), env)
        self.progress(f"Temporal's schemas are set up: {', '.join(config.STORES)}")

    async def namespace(self, address: str) -> None:
        """Made as a production makes it; twice, for that must change nothing."""
        env = {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": NAMESPACE, "RETENTION": "1d"}
        for _ in range(2):
            await self._do(("sh", str(DEPLOY / "temporal" / "namespace.sh")), env)
        await known_everywhere(address, NAMESPACE)
        self.progress(f"namespace {NAMESPACE} is there")

    def link_programs(self) -> None:
        """Under the names that an operator's scripts call them by."""
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "temporal-sql-tool").symlink_to(self.programs.schema_tool)
        (self.folder / "bin" / "temporal").symlink_to(self.programs.cli)

    async def _do(self, words: tuple[str, ...], env: Mapping[str, str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *words,
            env={**self.env, "PATH": f"{self.folder / 'bin'}:{self.options.path}", **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise ServiceFailed(f"{words[0]} {words[-1]} failed: {said.decode(errors='replace')[-2000:]}")

    async def services(self, chosen: dict[str, ServicePorts]) -> None:
        """The four services, which find each other through the database.

        One before the others: of several that first meet an empty database, only one may write what the cluster is.
        """
        first, *others = sorted(chosen, key=lambda name: name != _FIRST)
        await self._service(first, chosen[first])
        await asyncio.gather(*(self._service(name, chosen[name]) for name in others))
        self.progress(
            "four Temporal services run: " + ", ".join(f"{name} {ports_.grpc}" for name, ports_ in chosen.items())
        )

    async def _service(self, name: str, chosen: ServicePorts) -> None:
        async def ready() -> bool:
            if name == "frontend":
                return await _answers(f"{LOOPBACK}:{chosen.grpc}")
            return await _listens(chosen.membership)  # the worker opens no other

        words = ("--root", str(self.folder), "--config", "config", "--env", "cluster", "--allow-no-auth")
        argv = (str(self.programs.server), *words, "start", "--service", name)
        await self.add(ChildSpec(f"temporal-{name}", self.launch.argv(argv), self.env, ready, cwd=self.folder))


async def _listens(port: int) -> bool:
    """Asked by a connection: whoever tries to bind the port holds it for a moment, and the service then fails to."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def _answers(address: str) -> bool:
    try:
        async with asyncio.timeout(_PROBE_S):
            client = await Client.connect(address)
            return await client.service_client.check_health()
    except (RPCError, RuntimeError, TimeoutError):  # the core says RuntimeError where nobody listens
        return False


async def known_everywhere(address: str, name: str) -> None:
    """Wait until the frontend has heard of the namespace."""
    client = await Client.connect(address)
    async with asyncio.timeout(_NAMESPACE_S):
        while not await _known(client, name):  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.5)


async def _known(client: Client, name: str) -> bool:
    """Whether the frontend's cache has it: `describe` alone asks the database."""
    asked = await Client.connect(client.service_client.config.target_host, namespace=name)
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=name))
        return (await asked.count_workflows()).count == 0
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE, RPCStatusCode.INVALID_ARGUMENT):
            return False
        raise


@asynccontextmanager
async def running(
    folder: Path, options: ServiceOptions, programs: Programs, progress: Callable[[str], None]
) -> AsyncIterator[Addresses]:
    """Start everything in an empty folder, and stop it again."""
    (folder / "logs").mkdir(mode=0o700)
    async with AsyncExitStack() as stack:
        plant = Plant(folder, options, programs, progress, stack)
        stack.callback(plant.guard.close)
        plant.link_programs()
        its, port = await plant.postgres("temporal-postgres", programs.postgres_version, programs.postgres)
        database = Database(port, secrets.token_urlsafe(24))
        await plant.prepare(its.dsn(port, "postgres"), database.password)
        await plant.schemas(database)
        chosen = config.choose_ports()
        config.write(folder / "config", database, chosen)
        await plant.services(chosen)
        address = f"{LOOPBACK}:{chosen['frontend'].grpc}"
        await plant.namespace(address)
        ours, port = await plant.postgres("vertebra-postgres", options.postgres)
        await postgres.create_database(ours.dsn(port, "postgres"))
        yield Addresses(address, NAMESPACE, ours.dsn(port))


def clean_environment() -> dict[str, str]:
    """This process's environment without any setting of vertebra's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VERTEBRA_")}
