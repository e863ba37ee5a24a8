"""The list of operations, compared with what the code writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import vertebra
from vertebra.client.commands import Verb
from vertebra.schemas.audit import OPERATIONS
from vertebra.workers.gate import audit as gate

ROOT = Path(vertebra.__file__).parent


def written() -> Iterator[str]:
    """Every text that is given to `event(world, TEXT, ..)` or `operation=TEXT`, wherever that stands."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = node.args[1:2] if name in ("event", "_unknown") else node.args[:1] if name == "_entry" else []
            given += [word.value for word in node.keywords if word.arg == "operation" and name == "Entry"]
            for value in given:
                for part in ast.walk(value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str) and _is_word(part.value):
                        yield part.value


def _is_word(text: str) -> bool:
    return text.isidentifier() and "_" in text and not text.endswith("_")


def test_every_operation_that_is_written_is_known() -> None:
    """`vertebra audit query` refuses unknown words, so the list of known ones must be whole."""
    words = {*written(), *gate.OPERATIONS.values(), "resumed", *(f"command_{verb}" for verb in get_args(Verb))}

    assert set() == words - set(OPERATIONS), "add them to OPERATIONS in vertebra/schemas/audit.py"
    assert 20 < len(words)
