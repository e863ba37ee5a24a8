"""The schema of vertebra.toml: the settings that may stand in it."""

from __future__ import annotations

from typing import Any

from vertebra.cli.editor import models
from vertebra.schemas.canonical import Json
from vertebra.settings import Settings


def schema() -> dict[str, Json]:
    """Every setting but the project's folder, which is where the file stands; none is required there."""
    made: dict[str, Any] = models.of(Settings)
    made["properties"].pop("project")
    made.pop("required", None)
    return made
