"""Reads the lines of `edges`: `a -> b, c`, `b, c -> d: {join: all | any | 2}`, `a -> b: {when: ...}`."""

from __future__ import annotations

import re

from vertebra.policies.fields import nearest
from vertebra.schemas.authored import EdgeLine
from vertebra.schemas.canonical import Json
from vertebra.schemas.places import Complain, Path

OPTIONS = ("else", "join", "parallel", "when")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_FORMS = (
    "write 'a -> b', 'a -> b, c', 'b, c -> d: {join: all | any | 2}', 'a -> b: {when: \"...\"}', 'a -> b: {else: true}'"
)


def read_edges(raw: Json, path: Path, complain: Complain) -> tuple[EdgeLine, ...]:
    """All edge lines that can be read; the others are complained about."""
    if raw is None:
        return ()
    if not isinstance(raw, list):
        complain(path, "edges are a list of lines", _FORMS)
        return ()
    lines = (_line(item, index, path, complain) for index, item in enumerate(raw))
    return tuple(line for line in lines if line is not None)


def _line(item: Json, index: int, above: Path, complain: Complain) -> EdgeLine | None:
    path = (*above, index)
    if isinstance(item, str):
        return _arrow(item, {}, path, index, complain)
    if isinstance(item, dict) and len(item) == 1:
        ((text, options),) = item.items()
        if isinstance(options, dict):
            return _arrow(text, options, path, index, complain)
    complain(path, "this is no edge", _FORMS)
    return None


def _arrow(text: str, options: dict[str, Json], path: Path, index: int, complain: Complain) -> EdgeLine | None:
    sides = text.split("->")
    ends = [_names(side) for side in sides]
    if len(sides) != 2 or not all(ends):
        complain(path, f"{text!r} is no edge", _FORMS)
        return None
    if not _are_known(text, options, path, complain):
        return None
    when, join = options.get("when"), options.get("join")
    if not isinstance(when, str | None) or not isinstance(join, str | int | None) or isinstance(join, bool):
        complain(
            path,
            f"the options of edge {text!r} have the wrong type",
            "when takes a text, join takes all, any or a number",
        )
        return None
    return EdgeLine(
        sources=ends[0],
        targets=ends[1],
        when=when,
        join=None if join is None else str(join),
        otherwise=options.get("else") is True,
        parallel=options.get("parallel") is True,
        index=index,
    )


def _are_known(text: str, options: dict[str, Json], path: Path, complain: Complain) -> bool:
    good = True
    for name, value in options.items():
        if name not in OPTIONS:
            complain((*path, text, name), f"an edge has no option {name!r}", nearest(name, OPTIONS))
            good = False
        elif name in ("else", "parallel") and value is not True:
            complain((*path, text, name), f"{name!r} takes true", "or leave it out")
            good = False
    return good


def _names(side: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in side.split(","))
    return names if all(NAME.fullmatch(name) for name in names) else ()
