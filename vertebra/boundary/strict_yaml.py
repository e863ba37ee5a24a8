"""The one reader of authored YAML: plain values, each with its file and line, and nothing that surprises.

Raw YAML expands aliases without end, crashes the process when nested deep, keeps the last of two equal keys, and reads
`on` as true, `1:30` as 90 and `017` as 15. Here the parser's events are checked first, and a scalar is null, true,
false, a whole number, a decimal number, or a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile, BadJson
from vertebra.schemas.places import Path
from vertebra.schemas.strict_json import check_value

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_NODES = 100_000

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Marks:
    """Line of every key and value of one file (see `vertebra.schemas.places.Places`)."""

    file: str
    _values: dict[Path, int] = field(default_factory=dict)
    _keys: dict[Path, int] = field(default_factory=dict)
    _blocks: set[Path] = field(default_factory=set)
    _texts: dict[Path, str] = field(default_factory=dict)

    def at(self, path: Path) -> str:
        """`file:line` of the key that leads to `path`, or of the nearest thing above it that the file holds."""
        return self._placed(path, self._keys)

    def value_at(self, path: Path) -> str:
        """`file:line` where the value itself begins."""
        return self._placed(path, self._values)

    def in_text(self, path: Path, line: int) -> str:
        """`file:line` of a line (from 0) of the text at `path`; exact for block texts (`|`), else where it begins."""
        if path not in self._blocks:
            return self.value_at(path)
        return f"{self.file}:{self._values[path] + 1 + line}"

    def text(self, path: Path) -> str | None:
        """A number as its author wrote it (`1.0`), or None where `path` is no number."""
        return self._texts.get(path)

    def _placed(self, path: Path, first: dict[Path, int]) -> str:
        for end in range(len(path), -1, -1):
            line = first.get(path[:end], self._values.get(path[:end]))
            if line is not None:
                return f"{self.file}:{line}"
        return self.file


@dataclass(frozen=True)
class YamlFile:
    """An authored file: its value, and where each part of it stands."""

    value: Json
    marks: Marks


def read_yaml(text: str | bytes, file: str) -> YamlFile:
    """Read one authored file, which `file` names in complaints. Raises BadFile with `file:line:column`."""
    source = _decoded(text, file)
    reader = _Reader(file)
    try:
        value = reader.document(yaml.parse(source, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, source, file) from None
    except yaml.YAMLError as error:
        raise BadFile(f"not readable as YAML: {_one_line(str(error))}", at=file, do="save it as plain UTF-8") from None
    return YamlFile(value, reader.marks)


def _decoded(text: str | bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        raise BadFile(f"larger than {MAX_BYTES} bytes", at=file, do="split it, or keep data out of authored files")
    try:
        source = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        size = len(source.encode())
    except UnicodeError:
        raise BadFile("not valid UTF-8", at=file, do="save it as UTF-8") from None
    if size > MAX_BYTES:
        raise BadFile(f"larger than {MAX_BYTES} bytes", at=file, do="split it, or keep data out of authored files")
    return source


def _unreadable(error: yaml.MarkedYAMLError, source: str, file: str) -> BadFile:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return BadFile(f"not readable as YAML: {error.problem}", at=file)
    at = f"{file}:{mark.line + 1}:{mark.column + 1}"
    lines = source.split("\n")
    if "\t" in lines[mark.line][: mark.column + 1] if mark.line < len(lines) else False:
        return BadFile("a tab stands where YAML wants spaces", at=at, do="indent with spaces")
    context = f" {error.context}" if error.context else ""
    do = "put texts that hold ': ', '#', '@' or brackets in quotes, and close every bracket and quote"
    return BadFile(f"not readable as YAML: {error.problem}{context}", at=at, do=do)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Reader:
    """Builds plain values from the parser's events; stops at the first thing that is not allowed."""

    def __init__(self, file: str) -> None:
        self.marks = Marks(file)
        self._nodes = 0
        self._events: Iterator[yaml.Event] = iter(())

    def document(self, events: Iterator[yaml.Event]) -> Json:
        self._events = events
        value: Json = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document begins", "keep one document in a file, without '---'")
            elif isinstance(event, yaml.NodeEvent):
                value = self._node(event, (), 0)
        if not documents:
            raise BadFile("the file is empty", at=self.marks.file, do="write it, or delete it")
        return value

    def _node(self, event: yaml.Event, path: Path, depth: int) -> Json:
        self._allow(event, depth)
        self.marks._values[path] = _line(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth + 1)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth + 1)
        assert isinstance(event, yaml.ScalarEvent)
        return self._scalar(event, path)

    def _allow(self, event: yaml.Event, depth: int) -> None:
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse(event, "anchors and aliases are not allowed", "write the value out where it is needed")
        if (tag := getattr(event, "tag", None)) is not None:
            self._refuse(event, f"the tag {tag!r} is not allowed", "write a plain value, a text in quotes")
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        if self._nodes > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES} values in one file", "split it")

    def _mapping(self, path: Path, depth: int) -> Json:
        found: dict[str, Json] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path, depth)
            if key in found:
                first = self.marks._keys[(*path, key)]
                self._refuse(event, f"the key {key!r} stands already in line {first}", "keep one of the two")
            self.marks._keys[(*path, key)] = _line(event)
            found[key] = self._node(next(self._events), (*path, key), depth)
        return found

    def _key(self, event: yaml.Event, path: Path, depth: int) -> str:
        """A key is the text that stands there, never a truth value, number or date."""
        self._allow(event, depth)
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key is a list or a mapping", "put texts that begin with '[' or '{' in quotes")
        return self._clean(event, event.value)

    def _sequence(self, path: Path, depth: int) -> Json:
        found: list[Json] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._node(event, (*path, len(found)), depth))
        return found

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Json:
        text = event.value
        if event.style in ("|", ">"):
            self.marks._blocks.add(path)
        if event.style or not event.implicit[0]:
            return self._clean(event, text)
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return self._number(event, path, int(text))
        if _DECIMAL.fullmatch(text):
            return self._number(event, path, float(text))
        return self._clean(event, text)

    def _number(self, event: yaml.ScalarEvent, path: Path, number: float) -> Json:
        self.marks._texts[path] = event.value
        if not -(2.0**53) < number < 2.0**53:
            self._refuse(event, f"the number {event.value[:40]} is too large", "write it in quotes, as a text")
        return number

    def _clean(self, event: yaml.Event, text: str) -> str:
        try:
            check_value(text)
        except BadJson as error:
            self._refuse(event, error.message, "take the character out")
        return text

    def _refuse(self, event: yaml.Event, message: str, do: str) -> NoReturn:
        column = event.start_mark.column + 1 if event.start_mark else 1
        raise BadFile(message, at=f"{self.marks.file}:{_line(event)}:{column}", do=do)
