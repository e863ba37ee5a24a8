"""The world of one play: the worker's own parts over rows in memory, scripted models, people whose keys we have."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from vertebra.activities.world import World
from vertebra.audit.chain import mac_key
from vertebra.boundary.cel_child import CelChild
from vertebra.client.graphs import Published, publish, published
from vertebra.client.people import Enrolment, enrol
from vertebra.client.signing import Signer
from vertebra.compiler import AgentGraph, Project
from vertebra.policies.fields import nearest
from vertebra.policies.seal import seal_key
from vertebra.policies.signature import SigningKey
from vertebra.providers.registry import Providers
from vertebra.providers.scripted import ScriptedProvider
from vertebra.schemas.authored import AuthoredPerson
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import NotFound
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.tool import ToolSpec
from vertebra.store.artifacts import Artifacts, open_folder
from vertebra.store.pool import InMemory
from vertebra.testing.answers import by_text
from vertebra.testing.clock import Clock
from vertebra.testing.requests import FakeEgress, secrets_of, sendable
from vertebra.testing.rows import MemoryConnection, MemoryPool
from vertebra.testing.tools import FakeHost, ToolAnswer, Workbench, fake_tools
from vertebra.tools.registry import builtin_tools
from vertebra.workers.compiling import Compiled, compile_authored, compile_file, whole_project

TESTER = AuthoredPerson(name="tester", roles=("author", "starter", "operator", "admin"))
"""Who publishes and starts, and who commands where a scenario names nobody."""
_SECRET = b"no secret: rows in memory"


class AnyVendor(Providers):
    """One scripted vendor under every name that a graph may write."""

    def __init__(self, scripted: ScriptedProvider) -> None:
        super().__init__([scripted])
        self._scripted = scripted

    def get(self, name: str) -> ScriptedProvider:
        return self._scripted


@dataclass(frozen=True)
class Stage:
    """Everything that a play happens on."""

    clock: Clock
    pool: MemoryPool
    world: World
    bench: Workbench
    published: Published
    people: tuple[AuthoredPerson, ...]
    signers: Mapping[str, Signer] = field(repr=False)
    specs: Mapping[str, ToolSpec] = field(repr=False)
    """Every tool's definition by name, the project's own included."""

    def connection(self) -> InMemory:
        """For what people and operators write."""
        return MemoryConnection(self.pool)

    def signer(self, name: str) -> Signer:
        """A person, or the first who holds a role of this name. Raises NotFound with the nearest name."""
        holder = next((one.name for one in self.people if name in one.roles and not one.service), name)
        if name not in self.signers and holder not in self.signers:
            raise NotFound(f"nobody is called {name!r} or holds such a role", do=nearest(name, names_of(self.people)))
        return self.signers[name if name in self.signers else holder]


def names_of(people: Iterable[AuthoredPerson]) -> list[str]:
    """The names and roles of those who can decide something."""
    deciding = [one for one in people if not one.service]
    return sorted({*(one.name for one in deciding), *(role for one in deciding for role in one.roles)})


def everybody(project: Project) -> tuple[AuthoredPerson, ...]:
    """The people of the project, and the tester."""
    return (*(one for one in project.people if one.name != TESTER.name), TESTER)


@asynccontextmanager
async def staged(
    project: Project | Path,
    graph: str | Path | AgentGraph | Compiled,
    *,
    replies: Mapping[str, Json] | None = None,
    tools: Mapping[str, Sequence[ToolAnswer]] | None = None,
    cel: CelChild,
    clock: Clock | None = None,
    pool: MemoryPool | None = None,
) -> AsyncIterator[Stage]:
    """A stage with one published graph of a project. Raises Complaints, NotFound.

    `replies` answer in place of the models, by node; `tools` in place of tools. `clock` and `pool` are new by default.
    """
    project = whole_project(project) if isinstance(project, Path) else project
    compiled = _compiled(project, graph)
    clock = clock or Clock()
    pool = pool or MemoryPool(by_text(), clock.tick)
    bench = Workbench.of(tools or {})
    people = everybody(project)
    with TemporaryDirectory(prefix="vertebra-test-") as folder:
        world = _world(project, replies or {}, bench, Path(folder), pool, clock, cel)
        reach = FakeEgress(sendable(compiled.graph), bench, "")
        world = dataclasses.replace(world, egress=reach, egress_secrets=secrets_of(compiled.graph))
        signers = {one.name: Signer(one.name, _key(one.name), clock.now) for one in people if not one.service}
        found = await _publish(MemoryConnection(pool), people, signers, compiled)
        specs = {**world.registry.specs, **{name: tool.spec for name, tool in project.tools.items()}}
        yield Stage(clock, pool, world, bench, found, people, signers, specs)


def _compiled(project: Project, graph: str | Path | AgentGraph | Compiled) -> Compiled:
    if isinstance(graph, Compiled):
        return graph
    if isinstance(graph, AgentGraph):
        return compile_authored(project, graph)
    return compile_file(project, _file(project, graph))


def _file(project: Project, graph: str | Path) -> Path:
    if isinstance(graph, Path):
        return graph
    found = project.graph(graph)
    if found is None:
        raise NotFound(f"this project has no graph {graph!r}", do=nearest(graph, [one.stem for one in project.graphs]))
    return found


def _world(
    project: Project,
    replies: Mapping[str, Json],
    bench: Workbench,
    folder: Path,
    pool: MemoryPool,
    clock: Clock,
    cel: CelChild,
) -> World:
    seal = seal_key(_SECRET)
    return World(
        pool=pool,
        artifacts=Artifacts(pool, open_folder(folder / "artifacts", create=True)),
        audit_key=mac_key(_SECRET),
        seal_key=seal,
        seal_keys={seal.id: seal},
        registry=fake_tools(builtin_tools(), bench),
        providers=AnyVendor(ScriptedProvider(replies, sleep=clock.sleep)),
        cel=cel,
        prices=project.prices,
        project=project.folder,
        maildir=folder / "mail",
        worker="offline",
        now=clock.now,
        secret=lambda name: "offline",
        elapsed=clock.elapsed,
        tool_host=FakeHost(bench),
    )


async def _publish(
    connection: InMemory, people: Sequence[AuthoredPerson], signers: Mapping[str, Signer], compiled: Compiled
) -> Published:
    enrolled = [
        Enrolment(one.name, one.roles, None if one.service else signers[one.name].key.public, service=one.service)
        for one in people
    ]
    await enrol(connection, enrolled, by=TESTER.name)
    graph: CompiledGraph = compiled.graph
    await publish(connection, signers[TESTER.name], graph, compiled.texts)
    return await published(connection, graph.name, graph.version, drafts=False)


def _key(name: str) -> SigningKey:
    """Always the same key for a name: nothing that it signs leaves this process."""
    return SigningKey(hashlib.sha256(f"vertebra.testing/{name}".encode()).digest())
