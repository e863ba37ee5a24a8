"""Inputs of runs from the command line: `k=v`, `@file`, `-`; one JSON line each from a `.jsonl` file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vertebra.policies.fields import nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput, BadJson
from vertebra.schemas.fields import Field, Fields
from vertebra.schemas.strict_json import MAX_BYTES, read_json

_MORE = MAX_BYTES + 1
"""So much of a file is read at most: it may be a device that never ends."""


def read_inputs(given: Sequence[str], fields: Fields, at: str = "--input") -> list[Json]:
    """The input of each run to be started; `at` names the option. Raises BadInput, BadJson with the line."""
    pairs = [text for text in given if _is_pair(text)]
    sources = [text for text in given if not _is_pair(text)]
    if len(sources) > 1:
        raise BadInput("more than one file of input", at=at, do="start a second command for the other")
    values = _values(sources[0], at) if sources else [{}]
    named = _pairs(pairs, fields, at)
    if not named:
        return values
    if not all(isinstance(value, dict) for value in values):
        raise BadInput("k=v needs inputs that are objects", at=at)
    return [{**value, **named} for value in values if isinstance(value, dict)]


def _pairs(pairs: Sequence[str], fields: Fields, at: str) -> dict[str, Json]:
    """`k=v` by the types of the fields: text as it stands, `@file` for the text of a file, the rest as JSON."""
    found: dict[str, Json] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        field = fields.get(name)
        if field is None:
            raise BadInput(f"there is no field {name!r}", at=at, do=nearest(name, fields))
        found[name] = _typed(field, _text(text.removeprefix("@")) if text.startswith("@") else text, f"{at} {name}")
    return found


def _is_pair(text: str) -> bool:
    return "=" in text and not text.startswith("@")


def _values(source: str, at: str) -> list[Json]:
    if source == "-":
        return [read_json(sys.stdin.read(_MORE), at="standard input")]
    if not source.startswith("@"):
        raise BadInput(f"{source!r} is no input", at=at, do="write k=v, @FILE.json, @FILE.jsonl or -")
    path = source.removeprefix("@")
    if not path.endswith(".jsonl"):
        return [read_json(_text(path), at=path)]
    values = [read_json(line, at=f"{path}:{n}") for n, line in _lines(path) if line.strip()]
    if not values:
        raise BadJson("the file holds no line", at=path)
    return values


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Each line with its number; not splitlines: a JSON string may hold U+2028."""
    with _opened(path) as file:
        yield from enumerate(iter(lambda: file.readline(_MORE), ""), 1)


def _text(path: str) -> str:
    with _opened(path) as file:
        text = file.read(_MORE)
    if len(text) == _MORE:
        raise BadInput(f"larger than {MAX_BYTES} bytes", at=path)
    return text


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    try:
        with Path(path).open(encoding="utf-8") as file:
            yield file
    except UnicodeDecodeError:
        raise BadInput("the file is no UTF-8 text", at=path) from None
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", at=path) from None


def _typed(field: Field, text: str, at: str) -> Json:
    return text if field.type in ("string", "enum") else read_json(text, at=at)
