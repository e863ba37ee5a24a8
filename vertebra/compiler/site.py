"""One node on its way through the compiler, with everything that lowering it may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vertebra.compiler.catalogue import Catalogue
from vertebra.compiler.conditions import Conditions
from vertebra.compiler.scope import Scope
from vertebra.compiler.types import Shape
from vertebra.compiler.values import Reader
from vertebra.schemas.authored import AgentGraph, AuthoredAgent, AuthoredNode
from vertebra.schemas.graph import Node
from vertebra.schemas.places import Complain, Path
from vertebra.schemas.tool import ToolSpec


@dataclass(frozen=True)
class Site:
    """A node of a graph, and the catalogue that its names are looked up in."""

    id: str
    node: AuthoredNode
    graph: AgentGraph
    catalogue: Catalogue
    complain: Complain

    @property
    def path(self) -> Path:
        return ("nodes", self.id)

    @property
    def agent(self) -> AuthoredAgent | None:
        return self.graph.agents.get(self.node.agent) if self.node.agent is not None else None

    @property
    def tool(self) -> ToolSpec | None:
        return self.catalogue.tools.get(self.node.tool) if self.node.tool is not None else None

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools that this node may call, as far as they are known."""
        names = [self.node.tool] if self.node.tool is not None else list(self.agent.tools if self.agent else ())
        return [self.catalogue.tools[name] for name in names if name in self.catalogue.tools]

    def tell(self, key: str | None, message: str, do: str | None = None) -> None:
        """Complain about this node or one of its keys."""
        self.complain(self.path if key is None else (*self.path, key), message, do)


class Kind(Protocol):
    """What the compiler knows about one node type."""

    keys: frozenset[str]
    """The keys that a node of this type may have, besides those of every node."""
    has_effect: bool
    """Whether its calls cross the gate, where approvals and guardrails stand."""

    def result(self, site: Site, scope: Scope) -> Shape | None:
        """What its result holds, as far as `scope` tells; None if that cannot be known because of a mistake."""
        ...

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        """The node, checked; what all types share (`write`, `on_error`, limits, facts) is added by the caller."""
        ...
