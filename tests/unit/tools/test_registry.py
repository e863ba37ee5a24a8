"""The catalogue: what is in it, what may join it, and what a wrong name is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vertebra.schemas.errors import BadTool, UnknownTool
from vertebra.tools.checks import check_schemas
from vertebra.tools.contract import tool
from vertebra.tools.registry import Registry, builtin, builtin_tools


@tool(effect="pure", runs="worker")
def foreign() -> str:
    """Come from outside."""
    return ""


@tool(effect="pure", runs="sandbox", name="python")
def second() -> str:
    """Take a name that is taken."""
    return ""


def test_every_file_of_the_built_in_folder_is_found() -> None:
    """The built-in tools are found by iterating their folder, in order of name."""
    assert list(builtin().specs) == ["http_get", "python", "read_file", "search_docs", "send_email"]


def test_every_built_in_schema_compiles_offline() -> None:
    """No built-in schema refers to anything outside itself."""
    for spec in builtin().specs.values():
        check_schemas(spec)


def test_an_unknown_name_is_told_the_nearest() -> None:
    """A misspelt tool gives UnknownTool with the nearest name."""
    with pytest.raises(UnknownTool, match=r"did you mean 'search_docs'\?"):
        builtin().get("serch_docs")


def test_a_foreign_tool_stays_out_of_the_worker() -> None:
    """A worker tool that is not vertebra's own needs the operator's allow-list."""
    with pytest.raises(BadTool, match="inside the worker"):
        Registry([foreign])

    assert "foreign" in Registry([foreign], trusted=["foreign"])


def test_no_tool_shadows_another() -> None:
    """Two tools of one name are refused, also when one is built in."""
    with pytest.raises(BadTool, match="two tools are named 'python'"):
        Registry([*builtin_tools(), second])


def test_the_catalogue_cannot_be_changed() -> None:
    """The mapping given to the compiler is read-only."""
    with pytest.raises(TypeError):
        builtin().specs["other"] = foreign.spec  # type: ignore[index] # the attempt under test


def test_importing_the_package_is_light() -> None:
    """`import vertebra.tools` loads neither asyncio nor pydantic nor a sandbox."""
    code = "import sys, vertebra.tools; print(*[m for m in ('asyncio', 'pydantic', 'pyseccomp') if m in sys.modules])"

    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert seen.stdout.strip() == ""
