"""A whole vertebra and its rivals on one Postgres and one Temporal, in a folder of their own, in this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from pydantic import SecretStr
from temporalio.client import Client, Plugin

from bench.project import graphs, write_project
from bench.rival import TABLES, rivals
from vertebra.activities.world import World
from vertebra.audit.keys import audit_keys, context_key, person_key
from vertebra.client.graphs import PinnedText, Published, publish, published
from vertebra.client.people import Enrolment, enrol
from vertebra.client.signing import Signer
from vertebra.compiler import Catalogue, compile_graph, read_graph
from vertebra.compiler.catalogue import pinned_prices
from vertebra.compiler.project import Project, read_project
from vertebra.schemas.graph import CompiledGraph
from vertebra.services.options import ServiceOptions
from vertebra.services.state import Services
from vertebra.services.supervisor import Supervisor
from vertebra.settings import Settings
from vertebra.store.migrate import ROLES, Role, migrate
from vertebra.store.pool import Connection, Pool, connect, new_pool
from vertebra.workers.build import working
from vertebra.workers.main import made_world
from vertebra.workers.plugin import plugin

PERSON = "bench"
_PASSWORDS: dict[Role, str] = dict.fromkeys(ROLES, "bench-password")


@dataclass(frozen=True)
class Stage:
    """What the shapes act through."""

    services: Services
    client: Client
    """With the plugin."""
    plain: Client
    """Without it, for the rivals."""
    world: World
    api: Connection
    signer: Signer
    graphs: dict[str, Published]
    rival_pool: Pool


@asynccontextmanager
async def staged(folder: Path, plugins: tuple[Plugin, ...] = (), workers: bool = True) -> AsyncIterator[Stage]:
    """Start the services, migrate, publish, and let one vertebra worker and the rivals' workers run in this process.

    Without `workers` nobody works: the shapes start processes of their own.
    """
    write_project(folder)
    async with AsyncExitStack() as stack:
        supervisor = Supervisor(folder, ServiceOptions.from_environ(os.environ))
        services = (await stack.enter_async_context(supervisor)).services
        await asyncio.to_thread(migrate, services.postgres_dsn, _PASSWORDS)
        settings = settings_of(folder, services)
        await _prepare(services)
        signer = await _enrolled(settings, services)
        api = await connect(_dsn(services, "vertebra_api"))
        stack.push_async_callback(api.close)
        graphs = await _publish(api, signer, folder)
        world = await stack.enter_async_context(made_world(settings))
        client = await Client.connect(services.temporal_address, plugins=[plugin(), *plugins])
        plain = await Client.connect(services.temporal_address)
        pool = await stack.enter_async_context(new_pool(services.postgres_dsn, min_size=4, max_size=16))
        if workers:
            await stack.enter_async_context(rivals(plain, pool))
            await stack.enter_async_context(working(client, world, settings.limits))
        yield Stage(services, client, plain, world, api, signer, graphs, pool)


def settings_of(folder: Path, services: Services) -> Settings:
    """What a worker of the bench is set to; makes its keys where they are missing."""
    settings = Settings(
        project=folder,
        database_url=SecretStr(services.postgres_dsn),
        gate_dsn=SecretStr(_dsn(services, "vertebra_gate")),
        temporal_address=services.temporal_address,
    )
    audit_keys(settings.keys, create=True)
    context_key(settings.keys, create=True)
    return settings


def _dsn(services: Services, role: Role) -> str:
    parts = urlsplit(services.postgres_dsn)
    return parts._replace(netloc=f"{role}:{_PASSWORDS[role]}@{parts.netloc.rpartition('@')[2]}").geturl()


async def _prepare(services: Services) -> None:
    """The rivals' two tables."""
    async with await psycopg.AsyncConnection.connect(services.postgres_dsn, autocommit=True) as connection:
        for table in TABLES:
            await connection.execute(table)


async def _enrolled(settings: Settings, services: Services) -> Signer:
    """One person with every role that the shapes need."""
    key = person_key(settings.keys, PERSON, create=True)
    roles = ("author", "starter", "operator", "lead")
    owner = await connect(services.postgres_dsn)
    async with owner:
        await enrol(owner, [Enrolment(PERSON, roles, key.public)], PERSON)
    return Signer(PERSON, key)


async def _publish(api: Connection, signer: Signer, folder: Path) -> dict[str, Published]:
    project = read_project(folder)
    catalogue = Catalogue(prompts=project.prompts, prices=project.prices)
    for name in graphs():
        path = folder / "graphs" / f"{name}.yaml"
        graph = compile_graph(read_graph(path.read_text(encoding="utf-8"), str(path)), catalogue)
        await publish(api, signer, graph, _texts(graph, project))
    return {name: await published(api, name, None, drafts=False) for name in graphs()}


def _texts(graph: CompiledGraph, project: Project) -> list[PinnedText]:
    cited = [prompt for prompt in project.prompts.values() if prompt.digest in graph.prompts.values()]
    prices = PinnedText("prices", pinned_prices(graph, project.prices).canonical)
    return [*(PinnedText("prompt", prompt.canonical) for prompt in cited), prices]
