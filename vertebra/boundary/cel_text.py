"""The words of a CEL expression: which dotted paths it reads, and rewriting that never touches a string or comment.

Every rewriting that the check needs keeps the length of the text, so that CEL's own columns still point at what the
author wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<string>[bB]?[rR]?(?:\"\"\"|'''|"|')) # only its opening: its end depends on whether it is raw
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?)[uU]?)
      | (?P<mark>&&|\|\||[<>=!]=|.)""",
    re.VERBOSE | re.DOTALL,
)
_BINDERS = ("all", "exists", "exists_one", "map", "filter")
_WORDS = ("true", "false", "null", "in")


@dataclass(frozen=True)
class Token:
    kind: str
    """`name`, `string`, `number` or `mark`."""
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class PathUse:
    """One place where an expression names a value."""

    names: tuple[str, ...]
    start: int
    end: int
    local: bool
    """It begins with the variable of a macro such as `exists(x, ...)`."""
    has: tuple[int, int] | None
    """Start and end of the `has(...)` around it."""
    first: int
    """Position of its first token among the tokens."""

    @property
    def dotted(self) -> str:
        return ".".join(self.names)


def tokens(source: str) -> list[Token]:
    """The tokens of an expression without spaces and comments; what CEL would refuse becomes tokens all the same."""
    found, at = [], 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        assert match is not None, "the last alternative matches any character"
        kind = str(match.lastgroup)
        end = _string_end(source, match.group(), match.end()) if kind == "string" else match.end()
        if kind != "space":
            found.append(Token(kind, source[at:end], at))
        at = end
    return found


def path_uses(source: str) -> list[PathUse]:
    """Every dotted path of an expression, in order. Names of functions and methods are none."""
    words = tokens(source)
    bound = list(_bound_names(words))
    uses, at = [], 0
    while at < len(words):
        last = _chain_end(words, at)
        if last is None:
            at += 1
            continue
        uses.append(_use(words, at, last, bound))
        at = last + 1
    return [use for use in uses if use.names]


def replaced(source: str, changes: list[tuple[int, int, str]]) -> str:
    """The text with each `(start, end, new text)` put in place; the changes do not overlap."""
    for start, end, text in sorted(changes, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def calls(words: list[Token], names: tuple[str, ...]) -> Iterator[int]:
    """Positions of calls of global functions with one of these names."""
    for at, word in enumerate(words):
        if word.kind == "name" and word.text in names and _is(words, at + 1, "(") and not _is(words, at - 1, "."):
            yield at


def lengths(source: str) -> list[tuple[int, int, str]]:
    """The changes that spell every `.length` that no path holds (after `]` or `)`) as `.size()`."""
    words = tokens(source)
    return [
        (word.start, word.end, "size()")
        for at, word in enumerate(words)
        if word.text == "length" and _is(words, at - 1, ".") and not _is(words, at + 1, "(")
        if at >= 2 and words[at - 2].text in ("]", ")")
    ]


def _string_end(source: str, opening: str, at: int) -> int:
    quote = opening.lstrip("bBrR")
    raw = "r" in opening.lower()
    while at < len(source):
        if source.startswith(quote, at):
            return at + len(quote)
        at += 2 if source[at] == "\\" and not raw else 1
    return len(source)


def _is(words: list[Token], at: int, text: str) -> bool:
    return 0 <= at < len(words) and words[at].text == text


def _chain_end(words: list[Token], at: int) -> int | None:
    """Position of the last name of the path that begins here, or None where none does."""
    if words[at].kind != "name" or words[at].text in _WORDS or _is(words, at - 1, "."):
        return None
    while _is(words, at + 1, ".") and at + 2 < len(words) and words[at + 2].kind == "name":
        at += 2
    return at


def _use(words: list[Token], first: int, last: int, bound: list[tuple[str, int, int]]) -> PathUse:
    end = last - 2 if _is(words, last + 1, "(") else last
    names = tuple(words[index].text for index in range(first, end + 1, 2))
    has = None
    if _is(words, first - 2, "has") and _is(words, first - 1, "(") and _is(words, last + 1, ")"):
        has = (words[first - 2].start, words[last + 1].end)
    local = any(names[:1] == (name,) and start <= first < stop for name, start, stop in bound)
    return PathUse(names, words[first].start, words[max(end, first)].end, local, has, first)


def _bound_names(words: list[Token]) -> Iterator[tuple[str, int, int]]:
    """Variables of macros, each with the token positions between which it means the item."""
    for at in range(2, len(words) - 2):
        binds = words[at].text == "(" and words[at - 1].text in _BINDERS and words[at - 2].text == "."
        if binds and words[at + 1].kind == "name" and words[at + 2].text == ",":
            yield words[at + 1].text, at + 1, _closing(words, at)


def _closing(words: list[Token], at: int) -> int:
    depth = 0
    for position in range(at, len(words)):
        depth += {"(": 1, ")": -1}.get(words[position].text, 0)
        if depth == 0:
            return position
    return len(words)
