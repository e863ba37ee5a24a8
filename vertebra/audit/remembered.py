"""Heads that a verifier saw, kept on its own side: the only thing that shows a stream cut together with its head."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from vertebra.schemas.audit import Head
from vertebra.schemas.errors import BadFile


def load_heads(path: Path) -> dict[str, Head]:
    """The heads of the last good verification; none if there was none. Raises BadFile."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    try:
        rows = [json.loads(line) for line in lines]
        found = [Head(stream=row["stream"], seq=row["seq"], hash=bytes.fromhex(row["hash"])) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise BadFile("these are not the heads of an earlier verification", at=path) from None
    return {head.stream: head for head in found}


def save_heads(path: Path, heads: Mapping[str, Head]) -> None:
    """Remember the heads of a verification that found nothing, beside those of streams that it did not see."""
    kept = {**load_heads(path), **heads}
    rows = [{"stream": head.stream, "seq": head.seq, "hash": head.hash.hex()} for _, head in sorted(kept.items())]
    draft = path.with_name(path.name + ".new")
    draft.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(draft, path)
