"""Which file GRAPH on a command line means."""

from __future__ import annotations

from pathlib import Path

from vertebra.compiler import Project
from vertebra.policies.fields import nearest
from vertebra.schemas.errors import NotFound


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
