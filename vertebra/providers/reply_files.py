"""Reads a project's scripted replies, telling every mistake with its line."""

from __future__ import annotations

from pathlib import Path

from vertebra.boundary.strict_yaml import read_yaml
from vertebra.providers.scripted import file_of, parse_entries
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import Complaints, GraphError


def read_replies(folder: Path, aside: list[GraphError] | None = None) -> dict[str, Json]:
    """Node to the value of `folder/<node>.yaml`, each checked; empty without a folder. Raises Complaints.

    A file that is wrong is left out where there is a list for what is wrong with it.
    """
    found: dict[str, Json] = {}
    mistakes: list[GraphError] = [] if aside is None else aside
    # editors leave links to nowhere beside a file that is being edited
    for path in sorted(path for path in folder.glob("*.yaml") if path.is_file()):
        try:
            file = read_yaml(path.read_bytes(), file_of(path.stem))
            parse_entries(path.stem, file.value, file.marks)
            found[path.stem] = file.value
        except Complaints as several:
            mistakes.extend(several.complaints)
        except GraphError as mistake:
            mistakes.append(mistake)
    if mistakes and aside is None:
        raise Complaints(mistakes)
    return found
