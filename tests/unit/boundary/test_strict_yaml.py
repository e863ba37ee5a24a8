"""Authored YAML gives plain values with their lines, or one clear complaint."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertebra.boundary.strict_yaml import read_yaml
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile

BILLION_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = [
    (BILLION_LAUGHS, "f.yaml:1:4: anchors and aliases"),
    ("a: &x 1\nb: *x", "f.yaml:1:4: anchors and aliases"),
    ("a: *x", "f.yaml:1:4: anchors and aliases"),
    ("? &k a\n: 1", "f.yaml:1:3: anchors and aliases"),
    ("[" * 100_000, "f.yaml:1:66: nested deeper than 64"),
    ("{a: " * 100_000, "nested deeper than 64"),
    ("- " * 100_000, "nested deeper than 64"),
    ("\n".join(" " * depth + "a:" for depth in range(1000)), "f.yaml:65:65: nested deeper than 64"),
    ("[" + "1," * 200_000 + "]", "more than 100000 values"),
    ("a: " + "x" * 10_000_000, "f.yaml: larger than 1000000 bytes"),
    ("a: " + "ä" * 600_000, "f.yaml: larger than 1000000 bytes"),
    (
        "a: !!python/object/apply:os.system [ls]",
        "f.yaml:1:4: the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
    ),
    ("a: !!int 3", "f.yaml:1:4: the tag 'tag:yaml.org,2002:int'"),
    ("a: !secret x", "f.yaml:1:4: the tag '!secret'"),
    ("a: 1\nb: 2\na: 3", "f.yaml:3:1: the key 'a' stands already in line 1"),
    ("x: {a: 1, a: 1}", "f.yaml:1:11: the key 'a' stands already in line 1"),
    ("a:\n\tb: 1", "f.yaml:2:1: a tab stands where YAML wants spaces; indent with spaces"),
    ("\ta: 1", "f.yaml:1:1: a tab stands where YAML wants spaces"),
    ("[a]: 1", "f.yaml:1:1: a key is a list or a mapping"),
    ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document begins"),
    ("", "f.yaml: the file is empty"),
    ("# only a comment\n", "f.yaml: the file is empty"),
    ("a: b: c", "f.yaml:1:5: not readable as YAML: mapping values are not allowed"),
    ("a: @x", "f.yaml:1:4: not readable as YAML"),
    ("a: [1", "f.yaml:2:1: not readable as YAML"),
    ("a: 'x", "f.yaml:1:6: not readable as YAML"),
    (b"a: \xff", "f.yaml: not valid UTF-8"),
    ("a: \ud800", "f.yaml: not valid UTF-8"),
    ("a: x\0", "f.yaml: not readable as YAML"),
    ('a: "\\0"', "f.yaml:1:4: the text holds a NUL"),
    ('a: "\\ud800"', "f.yaml:1:7: not readable as YAML"),
    ("a: 9007199254740992", "f.yaml:1:4: the number 9007199254740992 is too large"),
    ("a: 1.0e400", "f.yaml:1:4: the number 1.0e400 is too large"),
]


@pytest.mark.parametrize(("text", "complaint"), REFUSED)
def test_bad_yaml_is_one_clear_complaint(text: str | bytes, complaint: str) -> None:
    """Bombs, surprises and mistakes end at once, with file, line and column where there are any."""
    start = time.process_time()

    with pytest.raises(BadFile) as caught:
        read_yaml(text, "f.yaml")

    assert complaint in str(caught.value)
    assert 2 > time.process_time() - start


SCALARS: list[tuple[str, Json]] = [
    ("yes", "yes"),
    ("off", "off"),
    ("1:30", "1:30"),
    ("017", "017"),
    ("0x1f", "0x1f"),
    ("1_000", "1_000"),
    ("1e3", "1e3"),
    ("2026-11-20", "2026-11-20"),
    ("1.0.0", "1.0.0"),
    (".5", ".5"),
    (".inf", ".inf"),
    (".nan", ".nan"),
    ("=", "="),
    ("'1'", "1"),
    ('"true"', "true"),
    ("1", 1),
    ("-12", -12),
    ("1.0", 1.0),
    ("-0.25", -0.25),
    ("1.5e3", 1500.0),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_mean_what_they_say(text: str, value: Json) -> None:
    """Only null, true, false and decimal numbers are resolved; all else is the text that stands there."""
    read = read_yaml(f"a: {text}", "f.yaml").value

    assert {"a": value} == read
    assert isinstance(read, dict)
    assert type(value) is type(read["a"])


def test_keys_are_texts() -> None:
    """A key is never a truth value, a number or null."""
    assert {"on": 1, "1": 2, "null": 3, "<<": 4} == read_yaml("{on: 1, 1: 2, null: 3, <<: 4}", "f.yaml").value


MARKED = """\
name: x
nodes:
  a: {agent: b,
      input: {ticket: input.ticket}}
edges:
  - a -> b
  - b -> end: {when: "a.x == 1.0"}
version: 1.0
template: |
  first
  second
plain: first
"""


def test_every_value_has_its_line() -> None:
    """Keys, values, list items, lines of block texts and missing parts are found again."""
    marks = read_yaml(MARKED, "graphs/x.yaml").marks

    assert "graphs/x.yaml:4" == marks.at(("nodes", "a", "input", "ticket"))
    assert "graphs/x.yaml:3" == marks.at(("nodes", "a", "agent"))
    assert "graphs/x.yaml:7" == marks.at(("edges", 1, "b -> end", "when"))
    assert "graphs/x.yaml:3" == marks.at(("nodes", "a", "nowhere", 3))
    assert "graphs/x.yaml:1" == marks.at(())
    assert "graphs/x.yaml:2" == marks.at(("nodes",))
    assert "graphs/x.yaml:3" == marks.value_at(("nodes",))
    assert "graphs/x.yaml:11" == marks.in_text(("template",), 1)
    assert "graphs/x.yaml:12" == marks.in_text(("plain",), 1)
    assert "1.0" == marks.text(("version",))
    assert marks.text(("name",)) is None


@given(st.text(st.sampled_from("ab:-[]{}'\"|>#&*!?, \n\t1.~%@"), max_size=80))
def test_any_text_is_a_value_or_a_bad_file(text: str) -> None:
    """No text gets another error out of the reader."""
    with contextlib.suppress(BadFile):
        read_yaml(text, "f.yaml")
