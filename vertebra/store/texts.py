"""Texts that graphs pin (prompts, tool definitions, policies, price tables): stored by digest, checked when read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from vertebra.schemas.canonical import Digest, digest_of
from vertebra.schemas.errors import NotFound, TamperedRow
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row

TextKind = Literal["prompt", "tool", "policy", "prices", "source"]


def put_text_query(tenant: str, kind: TextKind, data: bytes) -> Query:
    """Store a text; its name is `digest_of(data)`. The same text again changes nothing."""
    params = {"tenant": tenant, "digest": digest_of(data), "kind": kind, "bytes": data}
    return Query("put_text", named("values", "put_text"), params)


def get_texts_query(tenant: str, digests: Iterable[Digest]) -> Query:
    """The rows of these texts, in any order; `texts_of` checks that all are there and unchanged."""
    return Query("get_texts", named("values", "get_texts"), {"tenant": tenant, "digests": sorted(set(digests))})


def texts_of(rows: Sequence[Row], wanted: Iterable[Digest]) -> dict[Digest, bytes]:
    """The texts by digest. Raises NotFound naming the first that is missing, TamperedRow for a changed one."""
    found = {Digest(row["digest"]): bytes(row["bytes"]) for row in rows}
    for digest in wanted:
        if digest not in found:
            raise NotFound(f"the text {digest} is not stored", do="publish the graph again")
        if digest_of(found[digest]) != digest:
            raise TamperedRow(f"the text {digest} was changed in the database")
    return found
