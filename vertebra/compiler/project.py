"""Reads a project folder into values: its prompts, prices, people and graph files. It runs nothing and imports nothing.

Every mistake of every file is told at once; a prompt that stands in two files is one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vertebra.boundary.strict_yaml import YamlFile, read_yaml
from vertebra.compiler.explain import explain
from vertebra.prompts.load import load_prompt
from vertebra.schemas.authored import AuthoredPerson, AuthoredPrice
from vertebra.schemas.errors import BadFile, Complaints, GraphError
from vertebra.schemas.money import Price, PriceTable
from vertebra.schemas.places import ComplaintList
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.tool import ProjectTool

_Row = TypeVar("_Row", bound=BaseModel)
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Project:
    """What a project folder holds, as far as graphs are compiled from it."""

    folder: Path
    graphs: tuple[Path, ...]
    """The files of `graphs/`, in order of name."""
    prompts: Mapping[str, Prompt]
    """By `name@version`."""
    places: Mapping[str, str]
    """`file:line` of each prompt."""
    prices: PriceTable
    """The rows of prices.yaml only, not those of any price list."""
    people: tuple[AuthoredPerson, ...]
    knows_people: bool
    """Whether there is a people.yaml."""
    tools: Mapping[str, ProjectTool] = field(default_factory=dict)
    """The project's own tools by name. Reading a folder runs nothing, so whoever has asked the sandbox adds them."""

    @property
    def roles(self) -> frozenset[str] | None:
        """The roles that somebody holds; None where people are not written down here."""
        return frozenset(role for one in self.people for role in one.roles) if self.knows_people else None

    @property
    def services(self) -> frozenset[str] | None:
        return frozenset(one.name for one in self.people if one.service) if self.knows_people else None

    def graph(self, name: str) -> Path | None:
        """The file of a graph, which is called after it."""
        return next((path for path in self.graphs if path.stem == name), None)


def read_project(folder: Path, aside: list[GraphError] | None = None) -> Project:
    """Read a project folder. Paths in complaints are relative to it. Raises Complaints, or BadFile for no folder.

    A prompt that is wrong, or stands in two files, is left out where there is a list for what is wrong with it.
    """
    if not folder.is_dir():
        raise BadFile("there is no such folder", at=str(folder), do="name the folder that holds vertebra.toml")
    errors: list[GraphError] = []
    prompts, places = _prompts(folder, errors if aside is None else aside)
    prices = _rows(folder, "prices.yaml", AuthoredPrice, lambda row: f"{row.provider}/{row.model}", errors)
    people = _rows(folder, "people.yaml", AuthoredPerson, lambda row: row.name, errors)
    if errors:
        raise Complaints(errors)
    return Project(
        folder=folder,
        graphs=tuple(_files(folder / "graphs")),
        prompts=prompts,
        places=places,
        prices=PriceTable(prices=tuple(Price.model_validate(row.model_dump()) for row in prices)),
        people=tuple(people),
        knows_people=(folder / "people.yaml").is_file(),
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.yaml") if path.is_file())


def _prompts(folder: Path, errors: list[GraphError]) -> tuple[dict[str, Prompt], dict[str, str]]:
    prompts: dict[str, Prompt] = {}
    places: dict[str, str] = {}
    for path in _files(folder / "prompts"):
        source = _tried(partial(_yaml, folder, path), errors)
        prompt = None if source is None else _tried(partial(load_prompt, source.value, source.marks), errors)
        if source is None or prompt is None:
            continue
        at = source.marks.at(("prompt",))
        if prompt.ref in places:
            do = f"raise the version of one, or take it away; the other is {places[prompt.ref]}"
            errors.append(BadFile(f"prompt {prompt.ref!r} stands in two files", at=at, do=do))
            prompts.pop(prompt.ref, None)
        else:
            prompts[prompt.ref], places[prompt.ref] = prompt, at
    return prompts, places


def _rows(
    folder: Path, name: str, kind: type[_Row], key: Callable[[_Row], str], errors: list[GraphError]
) -> list[_Row]:
    """The lines of a list file; each has its own key. A file that is not there has none."""
    path = folder / name
    source = _tried(partial(_yaml, folder, path), errors) if path.is_file() else None
    if source is None or source.value is None:
        return []
    found: dict[str, _Row] = {}
    complain = ComplaintList(source.marks)
    if not isinstance(source.value, list):
        complain((), f"{name} is a list of lines", f"write: - {{{', '.join(kind.model_fields)}: ...}}")
    else:
        for index, raw in enumerate(source.value):
            try:
                row = kind.model_validate_json(json.dumps(raw))
            except ValidationError as error:
                explain(error, raw, kind, complain, (index,))
                continue
            if key(row) in found:
                complain((index,), f"{key(row)!r} has a second line", "keep one")
            found.setdefault(key(row), row)
    errors.extend(complain.found)
    return list(found.values())


def _yaml(folder: Path, path: Path) -> YamlFile:
    shown = path.relative_to(folder).as_posix()
    try:
        return read_yaml(path.read_bytes(), shown)
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror}", at=shown, do="check its owner and mode") from None


def _tried(read: Callable[[], _Read], errors: list[GraphError]) -> _Read | None:
    """What `read` gives, or None after keeping its complaints."""
    try:
        return read()
    except Complaints as error:
        errors.extend(error.complaints)
    except GraphError as error:
        errors.append(error)
    return None
