"""From a project's files to a graph with every text that it pins, for `check`, `publish`, `run FILE` and `dev`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vertebra.client.graphs import PinnedText
from vertebra.compiler import Catalogue, Project, compile_graph, pinned_prices, read_graph
from vertebra.ledger.prices import UNLISTED, price_of
from vertebra.policies.fields import nearest
from vertebra.providers.registry import known_words
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.canonical import canonical_bytes
from vertebra.schemas.errors import BadFile, NotFound, Unpriced
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.money import PriceTable
from vertebra.tools.registry import builtin


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph that may be published."""

    file: Path
    graph: CompiledGraph
    texts: tuple[PinnedText, ...]


def is_file(graph: str) -> bool:
    """Whether GRAPH on a command line is a path: it holds a slash or ends in .yaml."""
    return "/" in graph or graph.endswith(".yaml")


def file_of(project: Project, graph: str) -> Path:
    """The file of a graph that is named or given as a path. Raises NotFound with the nearest name."""
    if is_file(graph):
        path = Path(graph)
        if not path.is_file():
            raise NotFound(f"there is no file {graph!r}")
        return path
    found = project.graph(graph)
    if found is None:
        names = [path.stem for path in project.graphs]
        raise NotFound(f"this project has no graph {graph!r}", do=nearest(graph, names) or "see the folder graphs/")
    return found


def compile_file(project: Project, path: Path) -> Compiled:
    """Compile one file of a project. Raises Complaints, with everything that is wrong, or BadFile."""
    shown = path.resolve()
    name = shown.relative_to(project.folder.resolve()) if shown.is_relative_to(project.folder.resolve()) else path
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror}", at=str(name)) from None
    authored = read_graph(text, str(name))
    prices, unpriced = _prices(authored, project)
    specs = builtin().specs
    catalogue = Catalogue(
        prompts=project.prompts,
        tools=specs,
        prices=prices,
        providers=known_words(),
        unpriced=unpriced,
        roles=project.roles,
        services=project.services,
    )
    graph = compile_graph(authored, catalogue)
    texts = [PinnedText("prompt", project.prompts[ref].canonical) for ref in graph.prompts]
    texts += [PinnedText("tool", canonical_bytes(specs[tool].canonical)) for tool in graph.tools]
    if graph.prices is not None:
        texts.append(PinnedText("prices", pinned_prices(graph, prices).canonical))
    return Compiled(path, graph, tuple(texts))


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
