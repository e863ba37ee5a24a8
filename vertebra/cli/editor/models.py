"""JSON Schemas of pydantic models, without what only confuses an editor: titles, and defaults that nobody wrote."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import CoreSchema

from vertebra.schemas.canonical import Json


class _Lenient(GenerateJsonSchema):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # defaults are left out anyway

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> dict[str, Any]:
        """What is no authored value, such as the places of a graph, is anything here."""
        return {}


def of(model: type[BaseModel]) -> dict[str, Json]:
    """The schema of one model, its parts under `$defs`."""
    found: dict[str, Json] = _plain(model.model_json_schema(mode="validation", schema_generator=_Lenient))
    return found


def _plain(value: Any, *, names: bool = False) -> Any:
    """`names`: the keys are the author's own (of properties, of definitions), and none is a word of JSON Schema."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _plain(item, names=not names and key in ("properties", "$defs"))
        for key, item in value.items()
        if names or key not in ("title", "default")
    }
