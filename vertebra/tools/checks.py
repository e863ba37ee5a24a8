"""Both sides of every tool call are checked against the tool's own schemas, by a linear-time validator, offline."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError
from pydantic import JsonValue

from vertebra.schemas.canonical import Digest, json_text
from vertebra.schemas.errors import BadArguments, BadTool, BadToolOutput, ToolError
from vertebra.schemas.tool import ANSWER_BYTES, ToolSpec

ARGUMENT_BYTES = 256 * 1024
"""The largest arguments of a tool, as JSON text: what one activity may be given."""

_MASK = "the value"  # in place of the offending value: messages hold no payloads
_COMPILED = 512


def check_arguments(spec: ToolSpec, value: JsonValue) -> None:
    """Raise BadArguments if `value` is too large or breaks the tool's input schema."""
    _check_text(spec, value, ARGUMENT_BYTES, BadArguments, "arguments")
    _check_schema(_Schema(spec.digest, "input", spec.name, spec.input_schema), value, BadArguments)


def check_output(spec: ToolSpec, value: JsonValue) -> None:
    """Raise BadToolOutput if `value` is too large or breaks the tool's output schema."""
    _check_text(spec, value, ANSWER_BYTES, BadToolOutput, "answer")
    _check_schema(_Schema(spec.digest, "output", spec.name, spec.output_schema), value, BadToolOutput)


def check_schemas(spec: ToolSpec) -> None:
    """Raise BadTool if a schema of the tool is wrong or refers to something outside itself."""
    _compiled(_Schema(spec.digest, "input", spec.name, spec.input_schema))
    _compiled(_Schema(spec.digest, "output", spec.name, spec.output_schema))


@dataclass(frozen=True)
class _Schema:
    """A schema that is compared by the pin of its tool: comparing the schemas costs as much as compiling them."""

    pin: Digest
    side: Literal["input", "output"]
    tool: str = field(compare=False)
    schema: dict[str, JsonValue] = field(compare=False)


@lru_cache(maxsize=_COMPILED)
def _compiled(schema: _Schema) -> Draft202012Validator:
    try:
        return Draft202012Validator(schema.schema, offline=True, pattern_options=RegexOptions(), mask=_MASK)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise BadTool(f"its {schema.side} schema is wrong: {reason}", at=f"tool {schema.tool!r}") from None


def _check_text(spec: ToolSpec, value: JsonValue, limit: int, kind: type[ToolError], what: str) -> None:
    try:
        size = len(json_text(value).encode())
    except RecursionError:
        raise kind(f"{spec.name!r}: the {what} are nested too deeply", tool=spec.name) from None
    except (ValueError, TypeError):
        # NaN and infinity, a lone surrogate, a key that is no text, a value that is no JSON
        raise kind(f"{spec.name!r}: the {what} cannot be written as JSON in UTF-8", tool=spec.name) from None
    if size > limit:
        raise kind(f"{spec.name!r}: the {what} of {size} bytes exceed the limit of {limit}", tool=spec.name)


def _check_schema(schema: _Schema, value: JsonValue, kind: type[ToolError]) -> None:
    try:
        _compiled(schema).validate(value)
    except ValidationError as error:
        where = "".join(f"[{part!r}]" for part in error.instance_path) or "at the top"
        raise kind(f"{schema.tool!r}: {error.message} ({where})", tool=schema.tool) from None
    except ValueError:
        raise kind(f"{schema.tool!r}: a number or key cannot be read as JSON", tool=schema.tool) from None
