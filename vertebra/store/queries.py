"""Named SQL: every statement longer than a line lives in `sql/*.sql` under a comment that says what it is for.

A file holds sections `-- name: NAME`, the comment, and the statement. Parameters are psycopg's `%(name)s`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import LiteralString

from vertebra.schemas.errors import NotFound

_FOLDER = Path(__file__).with_name("sql")
_SECTION = re.compile(r"^-- name: ([a-z_]+)\n", re.MULTILINE)


def named(file: str, name: str) -> LiteralString:
    """The statement `name` of `sql/FILE.sql`. Raises NotFound, naming what there is."""
    sections = sections_of(file)
    try:
        return sections[name]
    except KeyError:
        raise NotFound(f"no statement {name!r}", at=f"sql/{file}.sql", do=f"there are: {', '.join(sections)}") from None


@cache
def sections_of(file: str) -> MappingProxyType[str, LiteralString]:
    """All statements of one file by name, without their comments. Raises NotFound."""
    path = _FOLDER / f"{file}.sql"
    try:
        parts = _SECTION.split(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"no file sql/{file}.sql") from None
    # package data, never a user's text: that is what LiteralString asks for
    bodies: list[LiteralString] = [_without_comments(body) for body in parts[2::2]]
    return MappingProxyType(dict(zip(parts[1::2], bodies, strict=True)))


def _without_comments(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines).strip().removesuffix(";")
