"""The schema of a prompt file (`vertebra.prompts.load`)."""

from __future__ import annotations

from vertebra.cli.editor import fields
from vertebra.prompts.load import EXPECT_KEYS, KEYS, PROMPT_NAME, TEST_KEYS
from vertebra.schemas.canonical import Json


def schema() -> dict[str, Json]:
    """A prompt as it is read: name, version, texts, fields and tests."""
    text: Json = {"type": ["string", "null"]}
    known: dict[str, Json] = {
        "prompt": {"type": "string", "pattern": f"^{PROMPT_NAME.pattern}$"},
        "version": {"type": "integer", "minimum": 1},
        "description": text,
        "system": text,
        "template": {"type": "string", "minLength": 1},
        "input": fields.declared(),
        "output": fields.declared(),
        "tests": {"anyOf": [{"type": "array", "items": _test()}, {"type": "null"}]},
    }
    return {
        "type": "object",
        "properties": {name: known[name] for name in KEYS},
        "required": ["prompt", "version", "template"],
        "additionalProperties": False,
        "$defs": fields.definitions(),
    }


def _test() -> Json:
    known: dict[str, Json] = {
        "name": {"type": "string"},
        "input": {"type": "object"},
        "expect": {"type": "object", "properties": {name: {} for name in EXPECT_KEYS}, "additionalProperties": False},
        "reply": {},
    }
    return {
        "type": "object",
        "properties": {name: known[name] for name in TEST_KEYS},
        "required": ["name"],
        "additionalProperties": False,
    }
