"""From an author's text to the graph that runs: AgentGraph, then CompiledGraph, with every mistake told at once."""

from __future__ import annotations

from vertebra.compiler.build import AgentGraph, read_graph
from vertebra.compiler.catalogue import Catalogue, pinned_prices
from vertebra.compiler.compile import compile_graph
from vertebra.compiler.project import Project, read_project
from vertebra.compiler.source import compile_text

__all__ = [
    "AgentGraph",
    "Catalogue",
    "Project",
    "compile_graph",
    "compile_text",
    "pinned_prices",
    "read_graph",
    "read_project",
]
