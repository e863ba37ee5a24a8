"""One gate worker process: its world made from settings, its workers and its keeper, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from vertebra.activities.watch import SILENT, Watch
from vertebra.activities.world import World
from vertebra.audit.keys import audit_keys, context_key
from vertebra.boundary.cel_child import CelChild
from vertebra.boundary.egress import Egress, Limits, Reach
from vertebra.boundary.secret_store import environment_secret
from vertebra.boundary.strict_yaml import read_yaml
from vertebra.client.connection import connect as connected
from vertebra.client.connection import refused
from vertebra.ledger.prices import overlay
from vertebra.providers.registry import Setup, make_providers
from vertebra.providers.reply_files import read_replies
from vertebra.schemas.errors import SettingsError
from vertebra.schemas.money import PriceTable
from vertebra.settings import Settings
from vertebra.store.artifacts import Artifacts, open_folder
from vertebra.store.pool import TimedPool, new_pool
from vertebra.store.schema import check_schema
from vertebra.tools.host_client import ToolHost
from vertebra.tools.registry import Registry, builtin_tools
from vertebra.workers.build import working
from vertebra.workers.frontend import address_of
from vertebra.workers.keeper import DUTIES, Keeper
from vertebra.workers.keeper.duty import Duty
from vertebra.workers.keeper.gauges import gauges_duty
from vertebra.workers.keeper.spans import spans_duty
from vertebra.workers.plugin import plugin
from vertebra.workers.telemetry import genai
from vertebra.workers.telemetry.figures import Figures, runtime_alone, runtime_serving
from vertebra.workers.telemetry.otlp import Otlp
from vertebra.workflows import visibility

log = structlog.get_logger()

ATTRIBUTES = tuple(
    key.name for key in (visibility.TENANT, visibility.GRAPH, visibility.STATE, visibility.REVIEWERS, visibility.DUE)
)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; work in flight is then finished or handed back. Raises SettingsError, StoreError."""
    runtime, figures = serving(settings)
    client = await connect(settings, runtime)
    async with made_world(settings, figures or SILENT) as world, collected(settings, world) as told:
        duties = (*DUTIES, *told, *((gauges_duty(figures),) if figures else ()))
        keeper = asyncio.create_task(Keeper(world, client, duties=duties, watch=world.watch).run())
        async with working(client, world, settings.limits):
            log.info("working", worker=world.worker, sandbox=_sandbox(world), temporal=settings.temporal_address)
            await _first(stop, keeper)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


def serving(settings: Settings) -> tuple[Runtime, Figures | None]:
    """Temporal's runtime, with a page of figures where a port is set. Once in a process. Raises SettingsError."""
    if settings.metrics_port is None:
        return runtime_alone(), None
    runtime = runtime_serving(settings.metrics_host, settings.metrics_port)
    log.info("serving figures", address=f"http://{settings.metrics_host}:{settings.metrics_port}/metrics")
    return runtime, Figures(runtime.metric_meter)


@asynccontextmanager
async def collected(settings: Settings, world: World) -> AsyncIterator[tuple[Duty, ...]]:
    """The duties that tell collectors, if any is set. Raises SettingsError."""
    if settings.traces_endpoint is None:
        yield ()
        return
    sink = Otlp(settings.traces_endpoint, genai.resource(version("vertebra"), world.worker))
    try:
        yield (spans_duty(sink),)
    finally:
        await sink.aclose()


async def connect(settings: Settings, runtime: Runtime | None = None) -> Client:
    """A client with the plugin, to a namespace that has our search attributes. Raises SettingsError, StoreError."""
    client = await connected(address_of(settings), plugins=[plugin()], runtime=runtime)
    namespace = client.namespace
    request = ListSearchAttributesRequest(namespace=namespace)
    try:
        known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    except RPCError as error:
        raise refused(error, client) from None
    missing = [name for name in ATTRIBUTES if name not in known]
    if missing:
        # an unregistered attribute would hang every run at its first write
        raise SettingsError(
            f"namespace {namespace!r} lacks the search attributes {', '.join(missing)}",
            do="register them: vertebra migrate",
        )
    return client


@asynccontextmanager
async def made_world(settings: Settings, watch: Watch = SILENT) -> AsyncIterator[World]:
    """Everything that a gate worker holds, opened and closed in order; `watch` is told what it commits."""
    keys, seal = audit_keys(settings.keys), context_key(settings.keys)
    folder = open_folder(settings.artifacts, create=True)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(pool_of(settings, watch))
        async with pool.connection() as connection:
            await check_schema(connection)
        cel = await stack.enter_async_context(CelChild())
        python = str(settings.sandbox_python) if settings.sandbox_python else None
        host = await stack.enter_async_context(ToolHost(python=python))
        endpoints = {endpoint.url: endpoint.secret for endpoint in settings.endpoints}
        setup = Setup(replies=read_replies(settings.project / "replies"), sales=settings.sales, endpoints=endpoints)
        providers = make_providers(setup)
        egress = await stack.enter_async_context(egress_of(settings))
        stack.push_async_callback(providers.aclose)
        yield World(
            pool=pool,
            artifacts=Artifacts(pool, folder),
            audit_key=keys.current,
            seal_key=seal,
            seal_keys={seal.id: seal},
            registry=Registry(builtin_tools(), trusted=settings.trusted_tools),
            providers=providers,
            cel=cel,
            prices=_prices(settings.project),
            project=settings.project,
            maildir=settings.maildir,
            worker=f"{os.getpid()}@{socket.gethostname()}",
            now=lambda: datetime.now(UTC),
            secret=environment_secret,
            tool_host=host,
            egress=egress,
            read_folders=settings.read_folders,
            egress_secrets=settings.egress_secrets,
            drafts=settings.drafts,
            watch=watch,
        )


def pool_of(settings: Settings, watch: Watch) -> TimedPool:
    """The worker's connections; their round trips are told to whoever counts."""
    dsn, most = settings.dsn("vertebra_gate"), settings.limits.connections
    return new_pool(dsn, min_size=min(4, most), max_size=most, told=None if watch is SILENT else watch.trip)


def egress_of(settings: Settings) -> Egress:
    """What this worker's http nodes and http_get send requests with, within the operator's bounds."""
    return Egress(reach_of(settings), Limits(body_bytes=settings.egress_max_body_bytes))


def reach_of(settings: Settings) -> Reach:
    """Where this worker's requests may go: as the operator says, and never to our own services."""
    own = [f"//{settings.temporal_address}", settings.dsn("vertebra_gate"), settings.temporal_ui or ""]
    parts = [urlsplit(address) for address in own]
    return Reach(
        hosts=settings.egress_hosts,
        inside=settings.egress_inside,
        own=tuple((part.hostname, part.port or 5432) for part in parts if part.hostname),
    )


def _prices(project: Path) -> PriceTable:
    path = project / "prices.yaml"
    return overlay(read_yaml(path.read_bytes(), "prices.yaml").value) if path.is_file() else PriceTable()


def _sandbox(world: World) -> str:
    report = world.tool_host.report if world.tool_host else None
    return (report.level or f"none: {report.reason}") if report else "none"


async def _first(stop: asyncio.Event, keeper: asyncio.Task[None]) -> None:
    """Wait for the stop, or for a keeper that died: it never should, so that ends the worker."""
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, keeper], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if keeper in done:
        await keeper
