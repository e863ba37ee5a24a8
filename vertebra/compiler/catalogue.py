"""What a graph may name, as values: the compiler looks nothing up, so the same values give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.money import PriceTable
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.tool import ToolSpec


@dataclass(frozen=True)
class Catalogue:
    """Everything outside the graph that compiling it depends on."""

    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    """By `name@version`."""
    tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    """By name."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The texts of the project's Python files that routers name, by path from its root."""
    prices: PriceTable = field(default_factory=PriceTable)
    """At least of the models that the graph names, where they have a price."""
    providers: Mapping[str, str] | None = None
    """Every word that a graph may write as provider, with the id that it stands for; None: any word is an id."""
    unpriced: Mapping[str, str] = field(default_factory=dict)
    """Agent to why its model has no price, where more is known than that no list has one."""
    roles: frozenset[str] | None = None
    """The roles that people hold; None where that is not known, and roles are then not checked."""
    services: frozenset[str] | None = None
    """The names that may start runs without a ticket; None where that is not known."""


def pinned_prices(graph: CompiledGraph, prices: PriceTable) -> PriceTable:
    """The price rows whose digest the graph pins, for whoever stores them."""
    names = sorted({(agent.model.provider, agent.model.model) for agent in graph.agents.values()})
    return PriceTable(prices=tuple(price for name in names if (price := prices.find(*name)) is not None))
