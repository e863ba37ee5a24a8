"""What a module may do: importing does nothing, and the pure folders ask nothing of the world."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vertebra"
PURE = ("schemas", "policies", "engine", "workflows")
"""Folders whose functions see values only; `compiler` reads a project's files, but no clock and no environment."""
WORKFLOW_IMPORTS = {
    *("temporalio.common", "temporalio.exceptions", "temporalio.workflow"),
    *("__future__", "asyncio", "collections", "collections.abc", "dataclasses", "datetime", "enum", "functools"),
    *("itertools", "json", "math", "re", "typing"),
    *("vertebra.engine", "vertebra.policies", "vertebra.schemas", "vertebra.workflows"),
}
_CLOCKS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("workflow", "unsafe"),
}
_ASKS = {"open", "input", "print", "eval", "exec", "hash", "id", "breakpoint", "__import__"}

IMPORT_ALL = """
import importlib, os, pkgutil, sys
import vertebra

def refuse(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event in FORBIDDEN or event.startswith(("socket.connect", "socket.bind", "socket.getaddrinfo")):
        raise AssertionError(f"importing did: {event} {args!r}")

class Watched(type(os.environ)):
    def __getitem__(self, name):
        frame = sys._getframe(1)
        while frame.f_globals.get("__name__", "") in ("os", "_collections_abc", "collections.abc"):
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").startswith("vertebra"):
            raise AssertionError(f"importing read ${name}")
        return super().__getitem__(name)

FORBIDDEN = {"os.mkdir", "os.remove", "os.rename", "os.fork", "os.forkpty", "os.system", "os.exec", "os.posix_spawn",
             "os.putenv", "os.chdir", "os.kill", "subprocess.Popen", "signal.signal"}
os.environ.__class__ = Watched
sys.addaudithook(refuse)
names = [m.name for m in pkgutil.walk_packages(vertebra.__path__, "vertebra.") if ".migrations." not in m.name]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Every module of these folders of the package, parsed."""
    for folder in folders:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def test_importing_any_module_does_nothing(tmp_path: Path) -> None:
    """No module opens a connection, starts a process, writes a file or reads the environment when imported."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL], cwd=tmp_path, check=False, capture_output=True, text=True
    )

    assert 0 == done.returncode, done.stderr[-4000:]
    assert int(done.stdout) > 100


@pytest.mark.parametrize("folder", [*PURE, "compiler"])
def test_a_pure_folder_asks_no_clock(folder: str) -> None:
    """Time comes as an argument, in a workflow from `workflow.now()`."""
    asked = [
        f"{path}:{node.lineno}"
        for path, module in modules(folder)
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in _CLOCKS
    ]

    assert [] == asked


@pytest.mark.parametrize("folder", PURE)
def test_a_pure_folder_asks_nothing_else(folder: str) -> None:
    """No file, terminal, code in a string, or order that differs from process to process (`hash`, `id`)."""
    asked = [
        f"{path}:{node.lineno} {node.func.id}"
        for path, module in modules(folder)
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ASKS
    ]

    assert [] == asked


def test_workflow_code_imports_what_replays_only() -> None:
    """Engine, policies, schemas, three modules of the SDK and the pure standard library."""
    seen = {name for _, module in modules("workflows") for name in _imported(module)}

    assert set() == {name for name in seen if not _allowed(name)}


def _imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module in ("temporalio", "vertebra"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def _allowed(name: str) -> bool:
    return name in WORKFLOW_IMPORTS or name.startswith(tuple(f"{item}." for item in WORKFLOW_IMPORTS if "." in item))
