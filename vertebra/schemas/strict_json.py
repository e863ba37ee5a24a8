"""The one reader of JSON text: what it lets through, every later step can hash, store, compare and show.

Python's own reader takes NaN, turns `1e400` into infinity, keeps the last of two equal keys and makes lone surrogates,
each of which breaks a database, a digest or a decision later on, far from its cause.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadJson
from vertebra.schemas.places import Path, dotted

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
_SAFE = 2**53
_NAMED_CHARS = 80


def read_json(text: str | bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, at: str = "$") -> Json:
    """The value that a JSON text stands for. Raises BadJson with the place inside the value, which `at` names."""
    source = _decoded(text, max_bytes, at)
    try:
        value: Json = json.loads(source, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadJson(f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}", at=at) from None
    except RecursionError:
        raise BadJson(f"nested deeper than {max_depth} levels", at=at) from None
    except ValueError as error:
        raise BadJson(str(error), at=at) from None
    # Without an escape no string can hold a NUL or half a surrogate pair: the decoder has refused the raw ones.
    _check(value, max_depth, at, strings="\\u" in source)
    return value


def check_value(value: object, *, max_depth: int = MAX_DEPTH, at: str = "$") -> Json:
    """The same value, known to be what `read_json` might have read. Raises BadJson naming the place."""
    _check(value, max_depth, at, strings=True)
    return value  # type: ignore[return-value]  # just checked, item by item


def _decoded(text: str | bytes, max_bytes: int, at: str) -> str:
    if len(text) > max_bytes:
        raise BadJson(f"larger than {max_bytes} bytes", at=at)
    try:
        data = text if isinstance(text, bytes) else text.encode()
        source = data.decode() if isinstance(text, bytes) else text
    except UnicodeError:
        raise BadJson(
            "the text is no valid UTF-8 (half a surrogate pair, or bytes of another encoding)", at=at
        ) from None
    if len(data) > max_bytes:
        raise BadJson(f"larger than {max_bytes} bytes", at=at)
    return source


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # counted in one pass: a hostile text of a megabyte has a hundred thousand keys
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        # whole or not at all: of a part nobody could tell that it is a secret's
        named = repr(twice) if len(twice) <= _NAMED_CHARS else f"of {len(twice)} letters"
        raise ValueError(f"the key {named} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check(value: object, max_depth: int, at: str, *, strings: bool) -> None:
    """Walk level by level, which needs no stack and no path; only a value that fails is walked again for its place."""
    level: list[object] = [value]
    depth = 0
    while level:
        below: list[object] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                below.extend(item.values())  # type: ignore[attr-defined]  # a dict
                if strings and not all(type(key) is str and _is_clean(key) for key in item):  # type: ignore[attr-defined]
                    _fail(value, max_depth, at)
            elif kind is list:
                below.extend(item)  # type: ignore[arg-type]  # a list
            elif (kind is not str or strings) and _fault(item) is not None:
                _fail(value, max_depth, at)
        level = below
        depth += 1
        if depth > max_depth and level:
            raise BadJson(f"nested deeper than {max_depth} levels", at=at)


def _fault(item: object) -> str | None:
    """What is wrong with a value that is neither an object nor a list."""
    if item is None or type(item) is bool:
        return None
    if type(item) is str:
        return _text_fault(item)
    if type(item) is int:
        return None if -_SAFE < item < _SAFE else "the integer is not below 2^53; write it as a string"
    if type(item) is float:
        return None if math.isfinite(item) else "the number is not finite"
    return f"a {type(item).__name__} is no JSON value"


def _is_clean(text: str) -> bool:
    return _text_fault(text) is None


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "the text holds a NUL character, which no database column can keep"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "the text holds half a surrogate pair"
    return None


def _fail(value: object, max_depth: int, at: str) -> NoReturn:
    for path, fault in _faults(value, (), max_depth):
        raise BadJson(fault, at=dotted(path, at))
    raise BadJson(f"nested deeper than {max_depth} levels", at=at)


def _faults(value: object, path: Path, room: int) -> Iterator[tuple[Path, str]]:
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                yield path, f"the key {key!r} is no text"
            elif not _is_clean(key):
                yield path, f"a key: {_text_fault(key)}"
            elif room > 0:
                yield from _faults(item, (*path, key), room - 1)
    elif type(value) is list:
        for index, item in enumerate(value):
            if room > 0:
                yield from _faults(item, (*path, index), room - 1)
    elif (fault := _fault(value)) is not None:
        yield path, fault
