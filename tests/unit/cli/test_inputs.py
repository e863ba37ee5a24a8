from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from vertebra.cli.inputs import read_inputs
from vertebra.schemas.errors import BadInput
from vertebra.schemas.fields import fields_of

FIELDS = fields_of('{"ticket": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "list"}}')


def test_pairs_have_the_types_of_the_graph() -> None:
    """Text stands as it is, even if it looks like a number; other fields are read as JSON."""
    found = read_inputs(["ticket=7=x", "count=7", 'tags=["a"]'], FIELDS)

    assert [{"ticket": "7=x", "count": 7, "tags": ["a"]}] == found


def test_each_line_of_a_jsonl_file_is_a_run(tmp_path: Path) -> None:
    """Empty lines are none, a line separator of Unicode ends no line, and pairs are added to each."""
    file = tmp_path / "tickets.jsonl"
    file.write_text('{"ticket": "a\u2028b"}\n\n{"ticket": "c"}\n', encoding="utf-8")

    found = read_inputs([f"@{file}", "count=1"], FIELDS)

    assert [{"ticket": "a\u2028b", "count": 1}, {"ticket": "c", "count": 1}] == found


def test_standard_input_and_files_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is one JSON value; `k=@FILE` is the text of a file."""
    file = tmp_path / "letter.txt"
    file.write_text("Dear shop", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"count": 2}'))

    assert [{"count": 2, "ticket": "Dear shop"}] == read_inputs(["-", f"ticket=@{file}"], FIELDS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tiket=x"], "did you mean 'ticket'"),
        (["count=many"], "--input count"),
        (["@/nowhere.json"], "/nowhere.json"),
        (["plain"], "write k=v"),
        (["@a.json", "@b.json"], "more than one file"),
        (["count=NaN"], "NaN"),
    ],
)
def test_wrong_inputs_are_named(given: list[str], said: str) -> None:
    """Each says what is wrong and where, before anything is started."""
    with pytest.raises(BadInput, match=said):
        read_inputs(given, FIELDS)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """The message names file and line."""
    file = tmp_path / "tickets.jsonl"
    file.write_text("{}\n{]\n", encoding="utf-8")

    with pytest.raises(BadInput, match=r"tickets.jsonl:2"):
        read_inputs([f"@{file}"], FIELDS)


@pytest.mark.parametrize("given", ["@/dev/zero", "ticket=@/dev/zero", "@{}/endless.jsonl"])
def test_a_file_without_an_end_is_left(tmp_path: Path, given: str) -> None:
    """Its first megabyte says that it is too large."""
    (tmp_path / "endless.jsonl").symlink_to("/dev/zero")

    with pytest.raises(BadInput, match="larger than 1000000 bytes"):
        read_inputs([given.format(tmp_path)], FIELDS)
