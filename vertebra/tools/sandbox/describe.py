"""Reports the tools that a file defines: runs inside the sandbox, standard library only, and is never imported.

It is handed over as the source of a job whose argument is the file's text. What it says may be forged by that text, so
whoever asked checks it like any other answer.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

Told = dict[str, Any]
_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_ANYTHING = (object, typing.Any, inspect.Parameter.empty)
_DEPTH = 12
_FORKS = "it forks a process while it is loaded, so that its code goes on twice; fork inside the function that needs it"


class Wrong(Exception):
    """A definition that cannot be a tool's. `function` tells where it stands."""

    def __init__(self, function: types.FunctionType, message: str) -> None:
        super().__init__(message)
        self.line = function.__code__.co_firstlineno


def describe(source: str, file: str) -> Told:
    """`{"tools": [...]}`, or `{"error": {"line", "type", "message"}}` where the file cannot be run or understood."""
    defined: list[tuple[Told, types.FunctionType]] = []
    sys.modules["vertebra.tools.contract"].__dict__["tool"] = _decorator(defined)
    module = types.ModuleType("tool")
    sys.modules["tool"] = module
    forks: list[int] = []
    os.register_at_fork(after_in_parent=lambda: forks.append(_line_now(file)))
    try:
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102 - this is the sandbox
        if forks:
            return {"error": {"line": forks[0], "type": "", "message": _FORKS}}
        return {"tools": [_told(terms, function) for terms, function in defined]}
    except BaseException as error:
        kind, line = type(error).__name__, _line(error, file)
        return {"error": {"line": line, "type": "" if kind == "Wrong" else kind, "message": str(error)[:1000]}}


def _decorator(defined: list[tuple[Told, types.FunctionType]]) -> Callable[..., object]:
    def tool(*bare: object, **terms: object) -> Callable[[types.FunctionType], object]:
        if bare:  # `@tool` alone, or terms without their names
            raise TypeError("write it with its terms by name, such as @tool(effect='pure')")

        def register(function: types.FunctionType) -> object:
            defined.append((terms, function))
            return function

        return register

    return tool


def _line(error: BaseException, file: str) -> int:
    if isinstance(error, Wrong):
        return error.line
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or 1
    lines = [frame.lineno or 1 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else 1


def _line_now(file: str) -> int:
    """The line of the file that is being run."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return 1 if frame is None else frame.f_lineno


def _told(terms: Told, function: types.FunctionType) -> Told:
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise Wrong(function, f"its signature names {error.name!r}, which the file lacks") from None
    if "return" not in hints:
        raise Wrong(function, "it does not say what it returns; annotate the return type")
    plain = {name: value for name, value in terms.items() if isinstance(value, (str, int))}
    lists = {name: list(value) for name, value in terms.items() if isinstance(value, (list, tuple, set))}
    return {
        "terms": {**plain, **lists},
        "function": function.__name__,
        "line": function.__code__.co_firstlineno,
        "description": (inspect.getdoc(function) or "").strip().partition("\n")[0],
        "input_schema": _arguments(function, hints),
        "output_schema": _schema(function, hints["return"], _DEPTH, answers=True),
    }


def _arguments(function: types.FunctionType, hints: Told) -> Told:
    properties: Told = {}
    required: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise Wrong(function, f"parameter {parameter.name!r} cannot be given by name")
        if parameter.name not in hints:
            raise Wrong(function, f"parameter {parameter.name!r} has no type; annotate it")
        properties[parameter.name] = _schema(function, hints[parameter.name], _DEPTH, answers=False)
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        else:
            properties[parameter.name] = {**properties[parameter.name], "default": parameter.default}
    return _object(properties, required)


def _object(properties: Told, required: list[str]) -> Told:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(function: types.FunctionType, kind: Any, depth: int, answers: bool) -> Told:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if depth == 0:
        raise Wrong(function, "a type is nested too deeply")
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind in _ANYTHING:
        return {}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(function, one, depth - 1, answers) for one in inner]}
    if kind is list or origin is list:
        return {"type": "array", **({"items": _schema(function, inner[0], depth - 1, answers)} if inner else {})}
    if kind is dict or origin is dict:
        return {"type": "object", **_values(function, inner, depth, answers)}
    if typing.is_typeddict(kind):
        return _fields(function, typing.get_type_hints(kind), kind.__required_keys__, depth, answers)
    if dataclasses.is_dataclass(kind) and answers:
        hints = typing.get_type_hints(kind)
        return _fields(
            function, {field.name: hints[field.name] for field in dataclasses.fields(kind)}, None, depth, True
        )
    raise Wrong(
        function, f"{getattr(kind, '__name__', kind)!r} is no type of a tool's {'answer' if answers else 'argument'}"
    )


def _values(function: types.FunctionType, inner: tuple[Any, ...], depth: int, answers: bool) -> Told:
    if not inner:
        return {}
    if inner[0] is not str:
        raise Wrong(function, "the keys of a dict are text: write dict[str, ...]")
    return {"additionalProperties": _schema(function, inner[1], depth - 1, answers)}


def _fields(
    function: types.FunctionType, hints: Told, required: Iterable[str] | None, depth: int, answers: bool
) -> Told:
    properties = {name: _schema(function, kind, depth - 1, answers) for name, kind in hints.items()}
    return _object(properties, sorted(hints if required is None else required))
