"""`vertebra dev`: everything on one machine, from an empty folder to a worker that takes runs, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from vertebra.cli import keys
from vertebra.cli.desk import Desk, open_desk, system_user
from vertebra.cli.graphs import publish_draft
from vertebra.cli.options import AsJson
from vertebra.client import people
from vertebra.client.temporal import has_worker
from vertebra.compiler import read_project
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import Complaints, GraphError, VertebraError
from vertebra.services.options import ServiceOptions
from vertebra.services.ports import LOOPBACK, pick
from vertebra.services.process import ChildSpec
from vertebra.services.state import Services
from vertebra.services.supervisor import Supervisor
from vertebra.settings import variable
from vertebra.store.migrate import migrate
from vertebra.workers.compiling import compile_file, whole_project
from vertebra.workers.frontend import address_of

app = typer.Typer()
WORKER = "worker"
USUAL_METRICS = 9464
"""Where OpenTelemetry's exporters serve theirs."""
_LOOK_EVERY_S = 0.5
_WATCHED = ("*.py", "*/*.py", "graphs/*.yaml", "prompts/*.yaml", "prices.yaml", "people.yaml")
"""Tools stand in tools/, functions of routers anywhere. Deeper folders are not looked into: they may hold anything."""


@app.command(epilog="Example: cd my-project && vertebra dev")
def dev(as_json: AsJson = False) -> None:
    """Run Postgres, Temporal and a worker; make keys, enrol people, publish drafts on start and on every change.

    State lives in .vertebra/ of the project. Ctrl-C, or the end of this process, stops all of it.
    """
    asyncio.run(_dev(open_desk(as_json=as_json)))


async def _dev(desk: Desk) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(_serve(desk, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    if not starting.cancelled():
        starting.result()


async def _serve(desk: Desk, stop: asyncio.Event) -> None:
    async with Supervisor(desk.settings.project, options(desk), desk.out.say) as supervisor:
        await prepare(supervisor, desk)
        with_services = open_desk(as_json=desk.out.as_json)
        port = with_services.settings.metrics_port or pick(USUAL_METRICS)
        supervisor.publish(addresses={"metrics": f"http://{LOOPBACK}:{port}/metrics"})
        await supervisor.add(worker_spec(with_services, port))
        watch = Watch(with_services)
        await watch.look()
        _tell(with_services, supervisor.services, next(iter(watch.sound), "GRAPH"))
        while not stop.is_set():
            await asyncio.sleep(_LOOK_EVERY_S)
            await watch.look()


def options(desk: Desk) -> ServiceOptions:
    """What the supervisor may use: the environment's, and this project's settings."""
    settings = desk.settings
    return replace(
        ServiceOptions.from_environ(os.environ),
        temporal_cli=settings.temporal_cli,
        postgres=settings.postgres,
        web_ui=settings.web_ui,
    )


async def prepare(supervisor: Supervisor, desk: Desk) -> None:
    """Keys, schema, the logins of the roles, and the people: everything that a worker and a client need."""
    folder = desk.settings.keys
    keys.make_keys(folder)
    passwords = keys.database_passwords(folder)
    superuser = supervisor.services.postgres_dsn
    await asyncio.to_thread(migrate, superuser, passwords)
    supervisor.publish(dsns=keys.role_dsns(superuser, passwords))
    await enrol(open_desk())


async def enrol(desk: Desk) -> tuple[str, ...]:
    """Write the people of people.yaml and the system's user into the list; gives those whom somebody has revoked."""
    known = read_project(desk.settings.project).people
    wanted = keys.enrolments(desk.settings.keys, known, system_user())
    async with desk.database("vertebra_owner") as connection:
        gone = {row["name"] for row in await people.people(connection) if row["revoked_at"] is not None}
        await people.enrol(connection, [one for one in wanted if one.name not in gone], by=system_user())
    return tuple(one.name for one in wanted if one.name in gone)


def worker_spec(desk: Desk, metrics_port: int | None = None) -> ChildSpec:
    """The gate worker as a supervised child, with its figures on this port.

    It gets the environment, for the keys of model vendors stand there.
    """
    settings = desk.settings
    address = address_of(settings)

    async def takes_runs() -> bool:
        return await has_worker(address)

    own = {
        "project": str(settings.project),
        "gate_dsn": settings.dsn("vertebra_gate"),
        "temporal_address": settings.temporal_address,
        "temporal_namespace": settings.temporal_namespace,
        "drafts": "true",
    }
    if metrics_port is not None:
        own["metrics_port"] = str(metrics_port)
    env = {**os.environ, **{variable(name): value for name, value in own.items()}}
    # -P: else Python would import from the project folder, whose code runs in the sandbox only
    argv = (sys.executable, "-P", "-m", "vertebra.cli.main", "worker")
    return ChildSpec(WORKER, argv, env, takes_runs, cwd=settings.project, stop_timeout_s=10.0)


@dataclass(slots=True)
class Watch:
    """Publishes each graph as a draft when it, or something that it is made from, has changed."""

    desk: Desk
    seen: frozenset[tuple[str, int, int]] = frozenset()
    sound: tuple[str, ...] = ()
    """The graphs that compiled at the last look."""
    complained: bool = False
    revoked: tuple[str, ...] = ()

    async def look(self) -> None:
        """Publish what has changed since the last look; mistakes are told and wait for the next change."""
        now = frozenset(_stamps(self.desk.settings.project))
        if now == self.seen:
            return
        self.seen = now
        # after a mistake silence would say that it is still there
        tell_all, self.complained = self.complained, False
        try:
            await self._publish(tell_all=tell_all)
        except VertebraError as error:
            self._complain(error)

    async def _publish(self, *, tell_all: bool) -> None:
        before, self.revoked = self.revoked, await enrol(self.desk)
        for name in self.revoked if self.revoked != before else ():
            self.desk.out.say(f"{name!r} was revoked, and stays so; enrol the person under another name")
        settings = self.desk.settings
        project = await asyncio.to_thread(whole_project, settings.project, settings.sandbox_python)
        self.sound = ()
        for file in project.graphs:
            try:
                compiled = compile_file(project, file)
            except GraphError as error:
                self._complain(error)
                continue
            version, outcome = await publish_draft(self.desk, compiled)
            self.sound += (compiled.graph.name,)
            if outcome != "unchanged" or tell_all:
                self.desk.out.say(f"{outcome} {compiled.graph.name}@{version}")

    def _complain(self, error: VertebraError) -> None:
        self.complained = True
        for one in error.complaints if isinstance(error, Complaints) else (error,):
            self.desk.out.say(f"error: {one}")


def _stamps(project: Path) -> Iterable[tuple[str, int, int]]:
    for pattern in _WATCHED:
        for path in project.glob(pattern):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # an editor replaces files by others
            yield str(path), status.st_mtime_ns, status.st_size


def _tell(desk: Desk, services: Services, graph: str) -> None:
    shown: dict[str, Json] = {
        "project": str(desk.settings.project),
        "temporal": services.temporal_address,
        "temporal_ui": services.temporal_ui,
        "postgres": services.postgres_dsn.rpartition("@")[2],
        "metrics": services.addresses.get("metrics"),
        "logs": str(services.folder / "logs"),
        "person": desk.person,
    }
    lines = [f"  {name.replace('_', ' '):12} {value}" for name, value in shown.items() if value]
    text = "\n".join(["vertebra is up; Ctrl-C stops it", *lines, f"  try          vertebra run {graph} --input k=v"])
    desk.out.give(shown, text)
