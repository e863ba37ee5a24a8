"""From a project's files to a graph with every text that it pins: where compiler, tools and prices meet."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vertebra.client.graphs import PinnedText
from vertebra.compiler import Catalogue, Project, compile_graph, pinned_prices, read_graph, read_project
from vertebra.ledger.prices import UNLISTED, price_of
from vertebra.providers.registry import known_words
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.canonical import canonical_bytes, digest_of
from vertebra.schemas.errors import BadFile, GraphError, Unpriced
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.money import PriceTable
from vertebra.tools.host_client import ToolHost
from vertebra.tools.project import describe_all, source_of, tool_files
from vertebra.tools.registry import builtin


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph that may be published."""

    graph: CompiledGraph
    texts: tuple[PinnedText, ...]


def compile_file(project: Project, path: Path) -> Compiled:
    """Compile one file of a project. Raises Complaints, with everything that is wrong, or BadFile."""
    shown = path.resolve()
    name = shown.relative_to(project.folder.resolve()) if shown.is_relative_to(project.folder.resolve()) else path
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror}", at=str(name)) from None
    authored = read_graph(text, str(name))
    if path.parent.resolve() == (project.folder / "graphs").resolve() and path.stem != authored.graph:
        # a copy that kept the name of its graph would take its place, silently
        at = authored.places.at(("graph",))
        raise BadFile(f"graph {authored.graph!r} stands in a file of another name", at=at, do="give both the same")
    return compile_authored(project, authored)


def compile_authored(project: Project, authored: AgentGraph) -> Compiled:
    """Compile a graph, read or built in Python, against the files of a project. Raises Complaints."""
    prices, unpriced = _prices(authored, project)
    files = _files(authored, project.folder)
    specs = {**builtin().specs, **{name: tool.spec for name, tool in project.tools.items()}}
    catalogue = Catalogue(
        prompts=project.prompts,
        tools=specs,
        files=files,
        prices=prices,
        providers=known_words(),
        unpriced=unpriced,
        roles=project.roles,
        services=project.services,
    )
    graph = compile_graph(authored, catalogue)
    texts = [PinnedText("prompt", project.prompts[ref].canonical) for ref in graph.prompts]
    texts += [PinnedText("tool", canonical_bytes(specs[tool].canonical)) for tool in graph.tools]
    sources = {tool.source for name, tool in project.tools.items() if name in graph.tools}
    pinned = {node.router.source for node in graph.nodes.values() if node.router is not None}
    sources |= {text for text in files.values() if digest_of(text.encode()) in pinned}
    texts += [PinnedText("source", source.encode()) for source in sorted(sources)]
    if graph.prices is not None:
        texts.append(PinnedText("prices", pinned_prices(graph, prices).canonical))
    return Compiled(graph, tuple(texts))


def _files(authored: AgentGraph, folder: Path) -> dict[str, str]:
    """The texts of the files whose functions routers name; nothing outside the project, and no link that leads out."""
    named = {node.function.partition(":")[0] for node in authored.nodes.values() if node.function is not None}
    found = {}
    for name in sorted(named):
        path = (folder / name).resolve()
        if path.is_relative_to(folder.resolve()) and path.is_file():
            found[name] = source_of(folder, folder / name)
    return found


def whole_project(folder: Path, python: Path | None = None, aside: list[GraphError] | None = None) -> Project:
    """A project with the tools that its files define, as a sandboxed child reports them. Raises Complaints.

    `python` is the interpreter inside the sandbox. A project without files in tools/ starts no process. Prompts and
    tools that are wrong are left out where there is a list for what is wrong with them.
    """
    project = read_project(folder, aside)
    if not tool_files(folder):
        return project

    async def described() -> Project:
        async with ToolHost(python=str(python) if python else None) as host:
            return await with_tools(project, host, aside)

    # in a thread of its own: some callers have a loop, others have none
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(described())).result()


async def with_tools(project: Project, host: ToolHost, aside: list[GraphError] | None = None) -> Project:
    """The same project with its own tools. Raises Complaints."""
    tools = await describe_all(project.folder, tool_files(project.folder), host, aside)
    return replace(project, tools={tool.spec.name: tool for tool in tools})


def _prices(authored: AgentGraph, project: Project) -> tuple[PriceTable, dict[str, str]]:
    """The project's prices with today's listed ones of the graph's models; agent to why its model has none."""
    found = {(price.provider, price.model): price for price in project.prices.prices}
    unpriced: dict[str, str] = {}
    words, now = known_words(), datetime.now(UTC)
    for name, agent in authored.agents.items():
        provider = words.get(agent.model.provider, agent.model.provider)
        try:
            price = price_of(provider, agent.model.model, project.prices, now, endpoint=agent.model.endpoint)
        except Unpriced as error:
            if error.why != UNLISTED:
                unpriced[name] = error.why
            continue
        found[price.provider, price.model] = price
    return PriceTable(prices=tuple(found.values())), unpriced
