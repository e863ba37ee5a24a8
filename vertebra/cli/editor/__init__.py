"""JSON Schemas of everything that an author writes, made from the readers' own models, for editors to check against.

They know the shape of a file. What its names mean, only `vertebra check` can tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vertebra.cli.editor import graph, lines, prompt, scenario, toml
from vertebra.schemas.canonical import Json

FOLDER = ".vertebra/schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class AuthoredFile:
    """One kind of file in a project folder."""

    files: str
    """Where such files lie."""
    title: str
    make: Callable[[], dict[str, Json]]


FILES: Mapping[str, AuthoredFile] = {
    "graph": AuthoredFile("graphs/*.yaml", "A graph of vertebra", graph.schema),
    "prompt": AuthoredFile("prompts/*.yaml", "A prompt of vertebra", prompt.schema),
    "replies": AuthoredFile("replies/*.yaml", "Scripted replies of one node", lines.replies),
    "scenario": AuthoredFile("tests/*.yaml", "A scenario of vertebra", scenario.schema),
    "people": AuthoredFile("people.yaml", "People and their roles on a laptop", lines.people),
    "prices": AuthoredFile("prices.yaml", "Prices of models that no price list knows", lines.prices),
    "vertebra": AuthoredFile("vertebra.toml", "The settings of a project", toml.schema),
}
"""By the name of the schema's file."""


def schema(name: str) -> dict[str, Json]:
    """The whole schema of one kind of file."""
    found = FILES[name]
    return {"$schema": DRAFT, "title": found.title, **found.make()}


def write(folder: Path) -> list[Path]:
    """Write every schema; the files. Raises OSError."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    written = []
    for name in FILES:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema(name), indent=2) + "\n", encoding="utf-8")
        written.append(path)
    return written


def mark(project: Path) -> None:
    """Name its schema in the first line of each file of a new project, as the language servers of editors read it."""
    for name, kind in FILES.items():
        for path in sorted(project.glob(kind.files)):
            above = "../" * (len(PurePosixPath(kind.files).parts) - 1) or "./"
            place = f"{above}{FOLDER}/{name}.json"
            line = f"#:schema {place}" if path.suffix == ".toml" else f"# yaml-language-server: $schema={place}"
            text = path.read_text(encoding="utf-8")
            if not text.startswith(line):
                path.write_text(f"{line}\n{text}", encoding="utf-8")
