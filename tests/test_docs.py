"""The documents say what the code does: every command, option, setting and error, and every example runs."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.graphs.catalogue import graph_catalogue
from tests.ground import DATABASE_URL, NAMESPACE, TEMPORAL_ADDRESS
from tests.pages import DOCS, commands, error_classes, pages, settings
from vertebra.boundary.strict_yaml import read_yaml
from vertebra.cli.main import main
from vertebra.compiler import compile_text
from vertebra.settings import PREFIX, variable

ROOT = DOCS.parent
DOCUMENTS = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
_FENCE = re.compile(r"(?m)^(?P<space> *)```(?P<head>[^\n]*)\n(?P<body>.*?)^ *```$", re.S)
_TEST = re.compile(r"""[`"](tests/[\w/]+\.py)::(\w+)[`"]""")
_OURS = re.compile(rf"\b{PREFIX}[A-Z][A-Z_]*\b")
_OUTSIDE = {"VERTEBRA_PROJECT", "VERTEBRA_TEST_CLUSTER", DATABASE_URL, NAMESPACE, TEMPORAL_ADDRESS}
"""Variables that are no settings."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document; `runnable` is written after its language."""

    file: str
    language: str
    runnable: bool
    text: str


def blocks(language: str) -> list[Block]:
    """Every block of one language."""
    found = []
    for path in DOCUMENTS:
        for fence in _FENCE.finditer(path.read_text(encoding="utf-8")):
            head = fence["head"].split()
            if head and head[0] == language:
                body = "\n".join(line.removeprefix(fence["space"]) for line in fence["body"].splitlines())
                found.append(Block(path.name, language, "runnable" in head[1:], body))
    return found


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_made_page_is_as_the_code_says(name: str) -> None:
    """Commands with their options, settings and errors stand in docs/ as they are now."""
    written = (DOCS / name).read_text(encoding="utf-8")

    assert pages()[name] == written, f"docs/{name} is behind the code: run `make docs`"


def test_every_command_has_help_and_an_example() -> None:
    """Whoever asks a command for help reads what it does and one whole line to type."""
    silent = [words for words, command in commands() if not command.help or "vertebra" not in (command.epilog or "")]

    assert [] == silent


def test_every_setting_and_error_says_what_it_is() -> None:
    """No setting without a sentence, and no error whose name must explain it."""
    assert [] == [name for name, _, text in settings() if not text and name != "limits"]
    assert [] == [kind.__name__ for kind in error_classes() if not kind.__doc__]


def test_every_page_is_in_the_index() -> None:
    """Every document of docs/ can be reached from docs/README.md."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")

    assert [] == [path.name for path in DOCS.glob("*.md") if path.name != "README.md" and f"({path.name})" not in index]


def test_no_document_names_what_is_not_there() -> None:
    """Every `vertebra ...` line and every variable in the documents exists in the command or in the settings."""
    known = {words for words, _ in commands()}
    heads = {words.split()[0] for words in known}
    variables = {variable(name) for name, _, _ in settings()} | _OUTSIDE
    wrong = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        wrong += [f"{path.name}: {name}" for name in _OURS.findall(text) if name not in variables]
        wrong += [f"{path.name}: {' '.join(words)}" for words in _typed(text) if not _exists(words, known, heads)]

    assert [] == wrong


def _typed(text: str) -> Iterator[list[str]]:
    """The words of each command that a shell block of the text types."""
    for fence in _FENCE.finditer(text):
        if fence["head"].split()[:1] in (["sh"], ["shell"], ["bash"]):
            for line in fence["body"].splitlines():
                for part in re.split(r"&&|\||;", line.partition(" #")[0]):
                    words = part.split()
                    if words[:1] == ["vertebra"] and len(words) > 1 and not words[1].startswith("-"):
                        yield words[1:]


def _exists(words: list[str], known: set[str], heads: set[str]) -> bool:
    if words[0] in known:
        return True
    return words[0] in heads and (len(words) < 2 or " ".join(words[:2]) in known)


def test_every_test_that_a_document_names_exists() -> None:
    """A promise names the test that holds it, and the test is there."""
    named = {match for path in DOCUMENTS for match in _TEST.findall(path.read_text(encoding="utf-8"))}

    missing = []
    for file, name in sorted(named):
        path = ROOT / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        missing += [] if name in names else [f"{file}::{name}"]
    assert [] == missing
    assert len(named) >= 20


@pytest.mark.parametrize("page", ["failures.md", "security.md"])
def test_every_row_names_its_test(page: str) -> None:
    """Each row of the tables that promise something ends with the test that proves it."""
    rows = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    promised = [line for line in rows if "::" in line]

    assert [] == [line for line in rows if "::" not in line and not re.match(r"\| ?(what happens|promise|key|`)", line)]
    assert len(promised) >= 8


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.file)
def test_python_is_python(block: Block) -> None:
    """Every Python block compiles; a runnable one runs."""
    code = compile(block.text, block.file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    if block.runnable:
        exec(code, {"__name__": "example"})


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.file)
def test_yaml_is_what_vertebra_reads(block: Block) -> None:
    """Every YAML block can be read; a runnable one is a whole graph, and compiles."""
    if block.runnable:
        assert block.text.startswith("graph: " + compile_text(block.text, block.file, graph_catalogue()).name)
    else:
        read_yaml(block.text, block.file)


@pytest.mark.parametrize("block", [one for one in blocks("sh") if one.runnable], ids=lambda block: block.file)
def test_a_shell_block_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runnable shell blocks need no server: each line of `vertebra ...` ends well, `cd` goes where it says."""
    monkeypatch.chdir(tmp_path)
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["cd"]:
            monkeypatch.chdir(words[1])
        elif words:
            assert "vertebra" == words[0], line
            with pytest.raises(SystemExit) as ended:
                main(words[1:])
            assert 0 == ended.value.code, line
