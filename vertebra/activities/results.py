"""Small results travel inline; large ones are stored by their SHA-256 and travel by reference."""

from __future__ import annotations

from pydantic import JsonValue

from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.canonical import json_text
from vertebra.schemas.errors import BadToolOutput
from vertebra.store.artifacts import IN_POSTGRES_BYTES, ref_of

INLINE_BYTES = 64 * 1024


def kept(value: JsonValue) -> tuple[JsonValue, ArtifactRef | None, tuple[bytes, ...]]:
    """The inline value or its reference, and what is to be stored. Raises BadToolOutput over the hard limit."""
    data = json_text(value).encode()
    if len(data) <= INLINE_BYTES:
        return value, None, ()
    if len(data) > IN_POSTGRES_BYTES:
        raise BadToolOutput(f"the result has {len(data)} bytes, the limit is {IN_POSTGRES_BYTES}", do="return less")
    return None, ref_of(data), (data,)
