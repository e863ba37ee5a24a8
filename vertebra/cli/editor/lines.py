"""The schemas of files that are lists of lines: people, prices, scripted replies."""

from __future__ import annotations

from pydantic import BaseModel

from vertebra.cli.editor import models
from vertebra.providers.scripted import Entry
from vertebra.schemas.authored import AuthoredPerson, AuthoredPrice
from vertebra.schemas.canonical import Json


def people() -> dict[str, Json]:
    """people.yaml"""
    return _list_of(AuthoredPerson)


def prices() -> dict[str, Json]:
    """prices.yaml"""
    return _list_of(AuthoredPrice)


def replies() -> dict[str, Json]:
    """replies/NODE.yaml"""
    return _list_of(Entry)


def _list_of(model: type[BaseModel]) -> dict[str, Json]:
    line = models.of(model)
    parts = line.pop("$defs", {})
    return {"type": ["array", "null"], "items": line, "$defs": parts}
