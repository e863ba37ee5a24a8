"""The schema of a scenario file (`vertebra.testing.scenario`)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from vertebra.cli.editor import models
from vertebra.schemas.canonical import Json
from vertebra.testing.scenario import Expected, GivenCommand, GivenDecision, GivenScenario, GivenTool


def schema() -> dict[str, Json]:
    """A scenario as `vertebra test` reads it; what a model may reply is left to the prompt."""
    made: dict[str, Any] = models.of(GivenScenario)
    parts: dict[str, Any] = made.setdefault("$defs", {})

    def part(model: type[BaseModel]) -> Json:
        found: dict[str, Any] = models.of(model)
        parts.update(found.pop("$defs", {}))
        parts[model.__name__] = found
        return {"$ref": f"#/$defs/{model.__name__}"}

    properties = made["properties"]
    properties["replies"] = _optional({"type": "object"})
    properties["tools"] = _optional({"type": "object", "additionalProperties": _lines(part(GivenTool))})
    properties["approvals"] = _optional({"type": "object", "additionalProperties": _lines(part(GivenDecision))})
    properties["commands"] = _optional(_lines(part(GivenCommand)))
    properties["expect"] = _optional(part(Expected))
    return made


def _lines(line: Json) -> Json:
    """A list of lines; one alone needs no list."""
    return {"anyOf": [line, {"type": "array", "items": line}]}


def _optional(value: Json) -> Json:
    return {"anyOf": [value, {"type": "null"}]}
