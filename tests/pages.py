"""The pages of docs/ that are made from the code: commands, settings, errors. `make docs` writes them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from typer.main import get_command

import vertebra.settings
from vertebra.cli.endings import code_of
from vertebra.cli.main import WORDS
from vertebra.schemas import errors
from vertebra.schemas.errors import VertebraError
from vertebra.settings import Settings, variable

DOCS = Path(__file__).parent.parent / "docs"
_MADE = "<!-- Made from the code by `make docs`: do not edit. -->"
_HIDDEN = ("--help", "--install-completion", "--show-completion")
_ACTS = {
    "GraphError": "the author",
    "PolicyError": "the owner of rights, limits and people",
    "ToolError": "the model, which reads the text",
    "ProviderError": "the operator",
    "SettingsError": "whoever starts the process",
    "StoreError": "the operator",
}


def pages() -> dict[str, str]:
    """Each page by the name of its file."""
    return {"commands.md": _commands(), "settings.md": _settings(), "errors.md": _errors()}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words, in the order of `vertebra --help`."""
    for name, word in WORDS.items():
        module, attribute = word.place.split(":")
        found = get_command(getattr(importlib.import_module(f"vertebra.cli.{module}"), attribute))
        yield from _below(name, found)


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    verbs: Mapping[str, Any] = getattr(command, "commands", {})
    if not verbs or getattr(command, "invoke_without_command", False):
        yield words, command
    for name, verb in verbs.items():
        yield from _below(f"{words} {name}", verb)


def _commands() -> str:
    parts = [
        "# Commands",
        _MADE,
        "Every command takes `--help`, which shows an example, and `vertebra --project DIR` names a project from"
        " outside. Exit codes: 0 done, 1 the run or check failed, 2 usage or a missing setting, 3 waits for a person,"
        " 4 a service cannot be reached.",
    ]
    for words, command in commands():
        example = re.sub(r"^Examples?: ", "", command.epilog or "").replace("; vertebra", "\nvertebra")
        options = [_option(param) for param in command.params if not set(param.opts) & set(_HIDDEN)]
        parts.append(f"## `vertebra {words}`")
        parts.append(_flat(command.help or ""))
        if options:
            parts.append("\n".join(options))
        if example:
            parts.append(f"```sh\n{example}\n```")
    return "\n\n".join(parts) + "\n"


def _option(param: Any) -> str:
    argument = isinstance(param, click.Argument) or param.param_type_name == "argument"
    names = param.metavar or param.name.upper() if argument else ", ".join((*param.opts, *param.secondary_opts))
    said = _flat(getattr(param, "help", None) or "")
    return f"- `{names}`{': ' + said if said else ''}"


def _flat(text: str) -> str:
    """Paragraphs stay, lines do not."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _settings() -> str:
    parts = [
        "# Settings",
        _MADE,
        "A value is taken from a command's flag, else from the variable, else from `vertebra.toml`, else from the"
        " running services of the folder, else it is the default. A key that nobody knows stops the start, with the"
        " nearest name; so does a value of a wrong type. `vertebra doctor` shows each value with its origin, secrets"
        " masked. Secrets do not belong into `vertebra.toml`. Lists are written with commas in a variable, and as"
        " arrays in the file.",
    ]
    for name, default, text in settings():
        parts.append(f"## `{name}`")
        parts.append(f"`{variable(name)}`, by default {default}")
        parts.append(text)
    return "\n\n".join(part for part in parts if part) + "\n"


def settings() -> Iterator[tuple[str, str, str]]:
    """Every setting with its default in words, and what its docstring says."""
    texts = _docstrings()
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for part, inner in kind.model_fields.items():
                yield f"{name}.{part}", f"`{inner.default}`", texts[kind.__name__].get(part, "")
        else:
            yield name, _default(name, field), texts["Settings"].get(name, "")


def _default(name: str, field: Any) -> str:
    if field.default_factory is not None:
        return f"`.vertebra/{field.default_factory({'project': Path()}).name}` of the project"
    if name == "project":
        return "the nearest folder upwards that holds `vertebra.toml`"
    return (
        "none"
        if field.default in (None, ())
        else f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    )


def _docstrings() -> dict[str, dict[str, str]]:
    """The text under each field, which pydantic does not keep."""
    tree = ast.parse(inspect.getsource(vertebra.settings))
    return {node.name: dict(_texts(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _texts(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        value = after.value if isinstance(after, ast.Expr) else None
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            continue
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id, _flat(value.value)


def error_classes() -> list[type[VertebraError]]:
    """Every error of the tree, each after its parent."""

    def below(kind: type[VertebraError]) -> Iterator[type[VertebraError]]:
        yield kind
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                yield from below(child)

    return list(below(VertebraError))


def _errors() -> str:
    parts = [
        "# Errors",
        _MADE,
        "An error says where, what, and what to do. The name below is the type that a blocked node, a run's end and the"
        " audit show. The exit code is that of a command that ends with it.",
        "| error | a kind of | what it says | who acts | exit code |\n|---|---|---|---|---|\n"
        + "\n".join(_error_row(kind) for kind in error_classes()[1:]),
    ]
    return "\n\n".join(parts) + "\n"


def _error_row(kind: type[VertebraError]) -> str:
    family = next(one.__name__ for one in reversed(kind.__mro__) if one.__name__ in _ACTS)
    parent = kind.__bases__[0].__name__
    made = kind.__new__(kind)
    said = re.sub(r"\s+", " ", (kind.__doc__ or "").strip().splitlines()[0])
    return f"| `{kind.__name__}` | `{parent}` | {said} | {_ACTS[family]} | {code_of(made)} |"


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
