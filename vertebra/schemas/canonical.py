"""One byte form for everything that is hashed or signed.

Sorted keys, compact, UTF-8, integers below 2^53, no floats, ASCII keys: for such values sorted compact JSON is
byte-equal to RFC 8785. A user's value may hold floats; it enters as its JSON text, written once and kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NewType, TypeAlias

Digest = NewType("Digest", str)
"""`sha256:` and 64 hex digits."""

Canonical: TypeAlias = str | int | bool | Sequence["Canonical"] | Mapping[str, "Canonical"] | None
Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None
"""A value of a user, as the strict JSON reader gives it."""

_SAFE = 2**53
_PLAIN = (str, bool)  # a tuple: `str | bool` would be made anew for every value


class NotCanonical(ValueError):
    """The value cannot be hashed: a float, a large integer, a key that is not ASCII, or a lone surrogate."""


def canonical_bytes(value: Canonical) -> bytes:
    """The bytes of `value` that are hashed and signed. Raises NotCanonical, naming the place."""
    _check(value, "$")
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise NotCanonical("the text holds a lone surrogate") from None


def digest_of(data: bytes) -> Digest:
    """The digest of bytes that are stored or sent as they are."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest(value: Canonical) -> Digest:
    """The digest of a value's canonical bytes."""
    return digest_of(canonical_bytes(value))


def json_text(value: object) -> str:
    """The compact JSON text of a user's value, keys sorted, floats as Python writes them. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _check(value: object, at: str) -> None:
    if value is None or isinstance(value, _PLAIN):
        return
    if isinstance(value, int):
        if not -_SAFE < value < _SAFE:
            raise NotCanonical(f"{at}: the integer is not below 2^53; write it as a string")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not (isinstance(key, str) and key.isascii()):
                raise NotCanonical(f"{at}: the key {key!r} is not ASCII")
            _check(item, f"{at}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{at}[{index}]")
    else:
        raise NotCanonical(f"{at}: a {type(value).__name__} has no canonical form")
