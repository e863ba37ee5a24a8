"""From the text of a graph file to the graph that runs: mistakes of shape and of meaning come together."""

from __future__ import annotations

from collections.abc import Callable

from vertebra.compiler.catalogue import Catalogue
from vertebra.compiler.compile import compile_with
from vertebra.compiler.read import read_shape
from vertebra.schemas.authored import AgentGraph
from vertebra.schemas.graph import CompiledGraph


def compile_text(
    text: str | bytes, file: str, catalogue: Catalogue | Callable[[AgentGraph], Catalogue]
) -> CompiledGraph:
    """Read and compile one graph file. Raises Complaints with all mistakes, or BadFile where it is no graph file.

    A catalogue may be made for the graph, such as with the prices of the models that it names.
    """
    graph, faults = read_shape(text, file)
    if graph is None:
        faults.raise_any()
    assert graph is not None
    return compile_with(graph, catalogue if isinstance(catalogue, Catalogue) else catalogue(graph), faults)
