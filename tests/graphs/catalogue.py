"""What all graphs of the tests are compiled against: a project folder, the built-in tools, and some more."""

from __future__ import annotations

from pathlib import Path

from vertebra.compiler import Catalogue, read_project
from vertebra.providers.registry import known_words
from vertebra.schemas.graph import Effect, Permission
from vertebra.schemas.tool import ToolSpec
from vertebra.tools.registry import builtin

GRAPHS = Path(__file__).parent


def spec(name: str, effect: Effect, *permissions: Permission) -> ToolSpec:
    """A tool that takes an amount and may take a note."""
    properties = {"amount": {"type": "integer"}, "note": {"type": "string", "default": ""}}
    return ToolSpec(
        name=name,
        description="A tool of the tests.",
        input_schema={"type": "object", "properties": properties, "required": ["amount"]},
        output_schema={"type": "object", "properties": {"receipt": {"type": "string"}}, "required": ["receipt"]},
        permissions=tuple(sorted({"execute_tools", *permissions})),
        effect=effect,
        runs="worker",
    )


MORE_TOOLS = (
    spec("wire_money", "irreversible"),
    spec("book", "compensable", "persist_data"),
    spec("recall", "pure", "read_memory"),
    spec("remember", "idempotent", "write_memory"),
    spec("hire", "keyed", "attach_agent"),
)


def graph_catalogue() -> Catalogue:
    """A fresh catalogue, read from the project folder beside this file."""
    project = read_project(GRAPHS / "project")
    return Catalogue(
        prompts=project.prompts,
        tools={**builtin().specs, **{tool.name: tool for tool in MORE_TOOLS}},
        files={"tools/routes.py": "def choose(kind: str) -> str:\n    return f'parse_{kind}'\n"},
        prices=project.prices,
        providers=known_words(),
        roles=project.roles,
        services=project.services,
    )
