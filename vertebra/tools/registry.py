"""The catalogue of tools, by name. It is built once and never changes; a graph is compiled against its specs."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vertebra.schemas.errors import BadTool, UnknownTool
from vertebra.schemas.tool import ToolSpec
from vertebra.tools.contract import Tool

_BUILTIN = "vertebra.tools.builtin"


class Registry:
    """An immutable set of tools with unique names."""

    def __init__(self, tools: Iterable[Tool], *, trusted: Iterable[str] = ()) -> None:
        """`trusted` is the operator's allow-list: the names of foreign tools that may run inside the worker.

        Raises BadTool for a second tool of a name, and for a foreign worker tool that is not on the list.
        """
        self._tools = _by_name(tools, frozenset(trusted))

    @property
    def specs(self) -> Mapping[str, ToolSpec]:
        """Name to spec, in order of name: the catalogue that the compiler takes."""
        return MappingProxyType({name: tool.spec for name, tool in self._tools.items()})

    def get(self, name: str) -> Tool:
        """The tool of this name. Raises UnknownTool with the nearest names."""
        if name in self._tools:
            return self._tools[name]
        near = self.near(name)
        advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "list them with: vertebra tools list"
        raise UnknownTool(f"there is no tool {name!r}", do=advice, near=near)

    def near(self, name: str) -> tuple[str, ...]:
        """Up to three names that look like `name`, nearest first."""
        return tuple(difflib.get_close_matches(name, self._tools, n=3))

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __len__(self) -> int:
        return len(self._tools)


@functools.cache
def builtin() -> Registry:
    """vertebra's own tools: every `Tool` of a module of `vertebra.tools.builtin`."""
    return Registry(builtin_tools())


def builtin_tools() -> tuple[Tool, ...]:
    """The built-in tools in order of name, to be combined with others in one Registry."""
    package = importlib.import_module(_BUILTIN)
    modules = [importlib.import_module(f"{_BUILTIN}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    tools = [value for module in modules for value in vars(module).values() if isinstance(value, Tool)]
    return tuple(sorted(tools, key=lambda tool: tool.name))


def _by_name(tools: Iterable[Tool], trusted: frozenset[str]) -> Mapping[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in sorted(tools, key=lambda tool: tool.name):
        if tool.name in found:
            raise BadTool(f"two tools are named {tool.name!r}", at=tool.place, do="rename one of them")
        if tool.spec.runs == "worker" and not (tool.place.startswith(f"{_BUILTIN}.") or tool.name in trusted):
            raise BadTool(
                f"{tool.name!r} wants to run inside the worker",
                at=tool.place,
                do="say runs='sandbox', or let the operator put it on the allow-list",
            )
        found[tool.name] = tool
    return MappingProxyType(found)
