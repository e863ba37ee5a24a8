"""The decorator: what it derives, and what it refuses to register."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from vertebra.schemas.errors import BadArguments, BadTool, BadToolOutput
from vertebra.schemas.tool import ToolResult, ToolSpec
from vertebra.tools.contract import Tool, ToolContext, tool

CONTEXT = ToolContext(idempotency_key="KEY", project=Path("/nowhere"), maildir=Path("/nowhere"))


@dataclass(frozen=True)
class Sum:
    total: int


@tool(effect="pure", runs="worker", timeout="2m", permissions=["read_memory"], rate_limit="100/hour", secrets=["token"])
def add(first: int, context: ToolContext, second: Annotated[int, Field(ge=0)] = 2) -> Sum:
    """Add two numbers.

    The rest is for readers.
    """
    return Sum(first + second + len(context.idempotency_key))


@tool(effect="idempotent", runs="worker")
async def later(words: list[str]) -> str:
    """Join words."""
    return " ".join(words)


def test_the_signature_gives_the_schemas() -> None:
    """Names, types, limits and defaults of the parameters become the input schema; the context is left out of it."""
    assert {"first", "second"} == set(_properties(add))
    assert add.spec.input_schema["required"] == ["first"]
    assert _properties(add)["second"] == {"default": 2, "minimum": 0, "title": "Second", "type": "integer"}
    assert add.spec.input_schema["additionalProperties"] is False
    assert add.spec.output_schema["properties"] == {"total": {"title": "Total", "type": "integer"}}


def test_the_terms_stand_in_the_spec() -> None:
    """Description, timeout, limits and secrets are read from the decorator and the docstring's first line."""
    assert add.spec.description == "Add two numbers."
    assert add.spec.timeout_s == 120
    assert add.spec.permissions == ("execute_tools", "read_memory")
    assert (
        add.spec.effect,
        add.spec.runs,
        add.spec.rate_limit,
        add.spec.secrets,
    ) == ("pure", "worker", "100/hour", ("token",))


async def test_a_call_runs_the_function_with_its_context() -> None:
    """A sync function gets typed arguments, defaults and the context; its answer is plain JSON."""
    assert await add.call({"first": 1}, CONTEXT) == {"total": 6}


async def test_an_async_function_is_awaited() -> None:
    """An async tool function runs on the caller's loop."""
    assert await later.call({"words": ["a", "b"]}, CONTEXT) == "a b"


@pytest.mark.parametrize("arguments", [{}, {"first": "1"}, {"first": True}, {"first": 1, "third": 3}, [], None])
async def test_a_call_refuses_arguments_of_another_type(arguments: Any) -> None:
    """Nothing is coerced: text is no number, true is no number, unknown names are refused."""
    with pytest.raises(BadArguments):
        await add.call(arguments, CONTEXT)


async def test_an_answer_of_another_type_is_an_error() -> None:
    """A function that does not return what it declares gives BadToolOutput, not a wrong value."""

    @tool(effect="pure", runs="worker")
    def liar() -> Sum:
        """Lie."""
        return "no sum"  # type: ignore[return-value] # the lie under test

    with pytest.raises(BadToolOutput, match="liar"):
        await liar.call({}, CONTEXT)


def test_a_tool_without_an_effect_class_does_not_register() -> None:
    """The effect class must be said, and the message says how."""
    with pytest.raises(BadTool, match=r"(?s)no effect class.*irreversible"):

        @tool(runs="worker")
        def nothing() -> str:
            """Do nothing."""
            return ""


def untyped(x) -> str:  # type: ignore[no-untyped-def] # the mistake under test
    """Take anything."""
    return str(x)


def silent(x: int) -> int:
    return x


def endless(x: int):  # type: ignore[no-untyped-def] # the mistake under test
    """Return something."""
    return x


def starred(*x: int) -> int:
    """Take many."""
    return len(x)


def strange(x: ToolContext | Tool) -> int:
    """Take what has no schema."""
    return 1


@pytest.mark.parametrize("function", [untyped, silent, endless, starred, strange])
def test_a_function_that_says_too_little_does_not_register(function: Any) -> None:
    """Missing types, docstrings or return types, star parameters and types without a schema are refused."""
    with pytest.raises(BadTool):
        tool(effect="pure")(function)


@pytest.mark.parametrize(
    "terms",
    [{"effect": "harmless"}, {"timeout": "soon"}, {"timeout": "0s"}, {"rate_limit": "often"}, {"name": "Add-It"}],
)
def test_bad_terms_do_not_register(terms: dict[str, Any]) -> None:
    """An unknown effect class, a bad timeout, rate limit or name is refused with what to write."""
    with pytest.raises(BadTool, match=";"):
        tool(**({"effect": "pure"} | terms))(add.function)


def test_the_pin_survives_storage_and_changes_with_the_terms() -> None:
    """A spec read back from JSON has the same pin; another description has another, floats in schemas included."""
    spec = add.spec.model_copy(update={"input_schema": {"type": "number", "maximum": 0.5}})

    assert spec.digest == ToolSpec.model_validate_json(spec.model_dump_json()).digest
    assert spec.digest != spec.model_copy(update={"description": "Add three numbers."}).digest


def test_a_refusal_reads_as_an_answer() -> None:
    """A model reads a failed or denied call as an object with kind, message and what to do."""
    result = ToolResult.failed(BadArguments("argument 'k' is missing", do="give k"))

    assert not result.ok
    assert result.content == {"error": {"kind": "BadArguments", "message": "argument 'k' is missing", "do": "give k"}}


def _properties(of: Tool) -> dict[str, Any]:
    properties = of.spec.input_schema["properties"]
    assert isinstance(properties, dict)
    return properties
