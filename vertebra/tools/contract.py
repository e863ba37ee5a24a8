"""How a function becomes a tool: `@tool(effect=...)` derives its schemas from the signature and states its terms.

    @tool(effect="keyed", runs="worker", permissions=["persist_data"], timeout="10s")
    async def create_ticket(title: str, context: ToolContext) -> Ticket:
        \"\"\"Open a ticket.\"\"\"

A tool without an effect class does not register: nobody could know whether it may be repeated.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError

from vertebra.schemas.canonical import json_text
from vertebra.schemas.errors import BadArguments, BadTool, BadToolOutput
from vertebra.schemas.graph import Effect, Permission
from vertebra.schemas.tool import RATE_LIMIT, TOOL_NAME, Runs, SecurityLevel, ToolSpec
from vertebra.tools.context import ToolContext

__all__ = ["JsonValue", "Tool", "ToolContext", "ToolFunction", "tool"]

ToolFunction = Callable[..., object]
"""A typed sync or async function; what it takes and gives stands in its signature."""

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_ARGUMENTS = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


@dataclass(frozen=True, eq=False)
class Tool:
    """A registered tool: its terms, and the function behind them."""

    spec: ToolSpec
    function: ToolFunction = field(repr=False)
    arguments: type[BaseModel] = field(repr=False)
    answer: TypeAdapter[object] = field(repr=False)
    context_parameter: str | None = field(repr=False)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def place(self) -> str:
        """The module that defines it."""
        return self.function.__module__

    async def call(self, arguments: JsonValue, context: ToolContext) -> JsonValue:
        """Run the function here and now, with arguments that its schema has accepted. For worker tools only.

        A sync function runs in a thread. Raises BadArguments, BadToolOutput, and whatever the function raises.
        """
        values = self._values(arguments)
        if self.context_parameter:
            values[self.context_parameter] = context
        if inspect.iscoroutinefunction(self.function):
            result = await cast("Awaitable[object]", self.function(**values))
        else:
            result = await asyncio.to_thread(self.function, **values)
        try:
            answer: JsonValue = self.answer.dump_python(self.answer.validate_python(result), mode="json")
        except (ValidationError, ValueError):
            raise BadToolOutput(
                f"{self.name!r} answered with something else than it declares", tool=self.name
            ) from None
        return answer

    def _values(self, arguments: JsonValue) -> dict[str, object]:
        try:
            model = self.arguments.model_validate_json(json_text(arguments))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            at = ".".join(str(part) for part in first["loc"])
            raise BadArguments(f"argument {at!r}: {first['msg']}", tool=self.name) from None
        except ValueError:
            raise BadArguments("the arguments cannot be written as JSON in UTF-8", tool=self.name) from None
        return {name: getattr(model, name) for name in type(model).model_fields}


def tool(
    *,
    effect: Effect | None = None,
    runs: Runs = "sandbox",
    permissions: Iterable[Permission] = (),
    timeout: str | int = "30s",
    cost_microusd: int = 0,
    rate_limit: str | None = None,
    security_level: SecurityLevel = "medium",
    secrets: Iterable[str] = (),
    name: str | None = None,
) -> Callable[[ToolFunction], Tool]:
    """Make a tool of a function. Its first docstring line is the description. Raises BadTool, naming what is missing.

    `execute_tools` is always among the permissions. `timeout` is seconds or text such as `30s`, `2m`.
    """

    def register(function: ToolFunction) -> Tool:
        called = name or function.__name__
        where = f"tool {called!r} in {function.__module__}"
        _check_terms(where, called, effect, rate_limit)
        signature = _read_signature(where, called, function)
        spec = ToolSpec(
            name=called,
            description=_description(where, function),
            input_schema=signature.arguments.model_json_schema(),
            output_schema=signature.answer.json_schema(mode="serialization"),
            permissions=tuple(sorted({"execute_tools", *permissions})),
            effect=cast("Effect", effect),
            runs=runs,
            timeout_s=seconds_of(where, timeout),
            cost_microusd=cost_microusd,
            rate_limit=rate_limit,
            security_level=security_level,
            secrets=tuple(secrets),
        )
        return Tool(spec, function, signature.arguments, signature.answer, signature.context_parameter)

    return register


@dataclass(frozen=True)
class _Signature:
    arguments: type[BaseModel]
    answer: TypeAdapter[object]
    context_parameter: str | None


def _check_terms(where: str, called: str, effect: str | None, rate_limit: str | None) -> None:
    effects = get_args(Effect)
    if effect not in effects:
        said = "declares no effect class" if effect is None else f"declares the unknown effect class {effect!r}"
        raise BadTool(said, at=where, do=f"say @tool(effect=...) with one of {', '.join(effects)}")
    if not re.fullmatch(TOOL_NAME, called):
        raise BadTool(f"{called!r} is no tool name", at=where, do="use lower case letters, digits and _, at most 63")
    if rate_limit is not None and not re.fullmatch(RATE_LIMIT, rate_limit):
        raise BadTool(f"{rate_limit!r} is no rate limit", at=where, do="write a number and a period, like 100/hour")


def seconds_of(where: str, timeout: str | int) -> int:
    """A timeout as whole seconds. Raises BadTool."""
    match = re.fullmatch(r"(\d{1,5})([smh]?)", str(timeout))
    seconds = int(match[1]) * _SECONDS[match[2] or "s"] if match else 0
    if not 1 <= seconds <= 3600:
        raise BadTool(f"{timeout!r} is no timeout", at=where, do="write 1s to 1h, like 30s")
    return seconds


def _description(where: str, function: ToolFunction) -> str:
    lines = (inspect.getdoc(function) or "").strip().splitlines()
    if not lines:
        raise BadTool("has no docstring", at=where, do="describe in its first line what the tool does: models read it")
    return lines[0]


def _read_signature(where: str, called: str, function: ToolFunction) -> _Signature:
    hints = _hints(where, function)
    if "return" not in hints:
        raise BadTool("does not say what it returns", at=where, do="annotate the return type")
    fields: dict[str, Any] = {}
    context_parameter = None
    for parameter in inspect.signature(function).parameters.values():
        if hints.get(parameter.name) is ToolContext:
            context_parameter = parameter.name
        else:
            fields[parameter.name] = _field(where, parameter, hints)
    try:
        arguments = create_model(called, __config__=_ARGUMENTS, **fields)
        return _Signature(arguments, TypeAdapter(hints["return"]), context_parameter)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
        reason = str(error).splitlines()[0]
        raise BadTool(f"has a type without a JSON Schema: {reason}", at=where, do="use plain types") from None


def _hints(where: str, function: ToolFunction) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise BadTool(f"its signature names {error.name!r}, which its module lacks", at=where, do="import it") from None


def _field(where: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, Any]:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise BadTool(
            f"parameter {parameter.name!r} cannot be given by name", at=where, do="use plain named parameters"
        )
    if parameter.name not in hints:
        raise BadTool(f"parameter {parameter.name!r} has no type", at=where, do="annotate it")
    default = ... if parameter.default is parameter.empty else parameter.default
    return hints[parameter.name], default
