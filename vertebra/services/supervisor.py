"""Runs everything of one folder on this machine: Postgres, Temporal and what is added; all of it ends with us."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from vertebra.schemas.errors import ServiceFailed, SettingsError
from vertebra.services import folder, orphans, ports, postgres, state, temporal, temporal_cli
from vertebra.services.guard import Guard
from vertebra.services.launch import Launch
from vertebra.services.logfile import LogFile
from vertebra.services.options import ServiceOptions
from vertebra.services.ports import LOOPBACK, Ports
from vertebra.services.process import Child, ChildSpec
from vertebra.services.state import Services

_BIND_TRIES = 4


def _silent(line: str) -> None:
    """Nobody watches."""


class Supervisor:
    """Use as `async with Supervisor(folder, options, progress) as supervisor`, from one thread that lasts.

    Entering raises AlreadyRunning, ForeignData, DiskFull, SettingsError or ServiceFailed, and then nothing runs.
    """

    def __init__(self, project: Path, options: ServiceOptions, progress: Callable[[str], None] = _silent) -> None:
        self.state = project.absolute() / state.FOLDER
        self._options = options
        self._progress = progress
        self._launch = Launch.on(options.path)
        self._lock = state.FolderLock(self.state)
        self._guard: Guard | None = None
        self._children: dict[str, Child] = {}
        self._cluster: postgres.Cluster | None = None
        self._services: Services | None = None

    async def __aenter__(self) -> Supervisor:
        try:
            with folder.full_disk_named(self.state.parent):
                await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def services(self) -> Services:
        """A snapshot of what runs now."""
        if self._services is None:
            raise ServiceFailed("the supervisor has not been started")
        return self._services

    @property
    def names(self) -> tuple[str, ...]:
        """The children, in the order of their start."""
        return tuple(self._children)

    def child(self, name: str) -> Child:
        """The child of this name: `postgres`, `temporal`, or one that was added."""
        try:
            return self._children[name]
        except KeyError:
            raise SettingsError(f"no child is named {name!r}; there are {sorted(self._children)}") from None

    async def add(self, spec: ChildSpec) -> Child:
        """Start one more child, wait until it is ready, and keep it running. Raises ServiceFailed."""
        if self._guard is None:
            raise ServiceFailed("the supervisor has not been started")
        if spec.name in self._children:
            raise SettingsError(f"a child named {spec.name!r} runs already")
        log = LogFile(self.state / "logs" / f"{spec.name}.log")
        child = Child(spec, log, self._guard)
        self._children[spec.name] = child
        try:
            await child.start()
        except BaseException:
            del self._children[spec.name]
            raise
        return child

    async def remove(self, name: str) -> None:
        """Stop a child for good."""
        await self.child(name).stop()
        del self._children[name]
        self._write()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a child and return the pid that got it: for tests of faults. It is started again."""
        return self.child(name).kill(number)

    async def wait_ready(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until the child has passed its probe (again)."""
        await self.child(name).wait_ready(timeout_s)

    def publish(self, *, dsns: Mapping[str, str] | None = None, addresses: Mapping[str, str] | None = None) -> Services:
        """Add logins and addresses to what `find_services` gives."""
        services = self.services
        self._services = services.model_copy(
            update={"dsns": {**services.dsns, **(dsns or {})}, "addresses": {**services.addresses, **(addresses or {})}}
        )
        self._write()
        return self._services

    async def stop(self) -> None:
        """Stop all children, the last one first. Safe to call twice."""
        for child in reversed(self._children.values()):
            await child.stop()
        self._children.clear()
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._cluster is not None:
            postgres.remove_socket_folder(self._cluster)
            self._cluster = None
        if self._services is not None:
            state.remove(self.state)
            self._services = None
        self._lock.release()

    async def _start(self) -> None:
        folder.prepare(self.state)
        self._lock.acquire()
        folder.check_space(self.state)
        left = state.read(self.state)
        if left is not None:
            await orphans.end(left)
            state.remove(self.state)
        cli = await temporal_cli.find_or_make(self._options, self._progress)
        self._cluster = postgres.open_or_create(self.state, self._options.postgres, self._launch)
        server = temporal.open_or_create(self.state, cli.path, web_ui=self._options.web_ui)
        self._guard = Guard(self._changed)
        chosen = await self._start_on_free_ports(self._cluster, server)
        temporal.mark_complete(server)
        await postgres.create_database(self._cluster.dsn(chosen.postgres, "postgres"))
        version = await postgres.server_version(self._cluster.dsn(chosen.postgres))
        self._services = _describe(
            self.state, chosen, self._cluster, server, {"postgres": version, "temporal": cli.server_version}
        )
        self._write()
        self._progress(f"Postgres {version} and Temporal {cli.server_version} are ready")

    async def _start_on_free_ports(self, cluster: postgres.Cluster, server: temporal.Server) -> Ports:
        """Start both. Between the look at a port and the server's bind another program may take it: then look again."""
        for left in reversed(range(_BIND_TRIES)):
            chosen = ports.choose(ports.USUAL if self._options.usual_ports else ports.ANY)
            try:
                await self._start_both(cluster, server, chosen)
                return chosen
            except ServiceFailed as error:
                await self._stop_children()
                if not left or not (_says_taken(error) or chosen.any_taken()):
                    raise
        raise AssertionError("the last try returns or raises")

    async def _start_both(self, cluster: postgres.Cluster, server: temporal.Server, chosen: Ports) -> None:
        async def postgres_ready() -> bool:
            return await postgres.is_ready(cluster, chosen.postgres)

        async def temporal_ready() -> bool:
            return await temporal.is_ready(f"{LOOPBACK}:{chosen.temporal}")

        # a Go program built without C asks the environment who runs it
        env = {"USER": "vertebra", "HOME": str(self.state), **self._options.child_env}
        program = self._launch.postgres(cluster.argv(chosen.postgres))
        await self.add(ChildSpec("postgres", program, env, postgres_ready, cwd=self.state))
        program = self._launch.argv(server.argv(chosen))
        await self.add(ChildSpec("temporal", program, env, temporal_ready, cwd=self.state))

    async def _stop_children(self) -> None:
        for child in reversed(self._children.values()):
            await child.stop()
        self._children.clear()

    def _changed(self) -> None:
        """A process has started. It runs on even if a full disk does not take the note of it."""
        try:
            self._write()
        except OSError as error:
            self._progress(f"services.json is out of date: {error}")

    def _write(self) -> None:
        if self._services is None:
            return
        pids = {name: child.pid for name, child in self._children.items() if child.pid is not None}
        started = {name: tick for name, pid in pids.items() if (tick := orphans.started_at(pid)) is not None}
        self._services = self._services.model_copy(update={"pids": pids, "started": started})
        state.write(self._services)


def _says_taken(error: ServiceFailed) -> bool:
    return "address already in use" in str(error).lower()


def _describe(
    folder_: Path, chosen: Ports, cluster: postgres.Cluster, server: temporal.Server, versions: Mapping[str, str]
) -> Services:
    return Services(
        folder=folder_,
        pid=os.getpid(),
        temporal_address=f"{LOOPBACK}:{chosen.temporal}",
        temporal_namespace=temporal.NAMESPACE,
        temporal_ui=f"http://{LOOPBACK}:{chosen.temporal_ui}" if server.web_ui else None,
        temporal_metrics=f"http://{LOOPBACK}:{chosen.temporal_metrics}/metrics",
        temporal_cli=server.cli,
        postgres_dsn=cluster.dsn(chosen.postgres),
        postgres_socket_dsn=cluster.socket_dsn(chosen.postgres),
        versions=versions,
    )
