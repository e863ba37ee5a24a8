"""Resolves the paths that authors write (`input.ticket`, `state.reply`, `classify.kind`) to types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vertebra.compiler.types import ERROR, Shape, Slot, named
from vertebra.policies.fields import nearest
from vertebra.schemas.fields import Field

HEADS = ("input", "state", "error")
OWN = "the own result"
"""How complaints call what a `write` takes its fields from."""


_WHAT = {"input": "the input has no field", "state": "there is no channel", OWN: f"{OWN} has no field"}


class Unresolved(Exception):
    """A path that leads to nothing; carries the message and the advice."""

    def __init__(self, message: str, do: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.do = do


@dataclass(frozen=True)
class Found:
    """What a path leads to."""

    field: Field | None
    sure: bool
    """Whether the value is there whenever what it is part of is."""
    needs: str | None
    """The node or `state.` channel whose absence takes the value along; None for the input."""


@dataclass(frozen=True)
class Scope:
    """The declared types of one graph."""

    input: Shape
    state: Shape
    results: Mapping[str, Shape]
    """By node id."""
    opaque: frozenset[str] = frozenset()
    """Nodes whose result is not known because of another mistake: anything may be read there."""

    def is_path(self, text: str) -> bool:
        """Whether a scalar is meant as a path: it begins with a known name and a dot."""
        head, dot, rest = text.partition(".")
        return bool(dot and rest) and (head in HEADS or head in self.results)

    def resolve(self, path: str) -> Found:
        """The type at a path. Raises Unresolved."""
        head, _, rest = path.partition(".")
        if head in self.opaque:
            return Found(None, True, head)
        found = walk(self._shape(head), rest.split("."), head)
        if head == "state":
            channel = rest.split(".")[0]
            written_first = not self.state[channel].sure
            inner = found.sure if "." in rest else True
            return Found(found.field, inner, f"state.{channel}" if written_first else None)
        return Found(found.field, found.sure, head if head in self.results else None)

    def declared(self) -> dict[str, Field | None]:
        """All values that a condition may name."""
        shapes = {"input": self.input, "state": self.state, **self.results}
        known = {f"{head}.{name}": slot.field for head, shape in shapes.items() for name, slot in shape.items()}
        return known | dict.fromkeys(self.opaque)

    def needs(self, path: str) -> str | None:
        """The node or channel that must be there for a condition to read `path`."""
        try:
            return self.resolve(path).needs if self.is_path(path) else None
        except Unresolved:
            return None

    def _shape(self, head: str) -> Shape:
        if head == "input":
            return self.input
        if head == "state":
            return self.state
        return ERROR if head == "error" else self.results[head]


def walk(shape: Shape, parts: list[str], head: str) -> Slot:
    """Follow names into a shape. Raises Unresolved with the nearest name."""
    name, rest = parts[0], parts[1:]
    if name not in shape:
        what = _WHAT.get(head, f"{head!r} has no field")
        raise Unresolved(f"{what} {name!r}", nearest(name, shape) or _empty(shape, head))
    slot = shape[name]
    if not rest:
        return slot
    if slot.field is None or (slot.field.type == "dict" and slot.field.fields is None):
        return Slot(None, False)
    if slot.field.type != "dict" or slot.field.fields is None:
        raise Unresolved(f"'{head}.{name}' is {named(slot.field)}, it has no fields", "a path goes through dicts only")
    inner = {key: Slot(field, field.required or field.default is not None) for key, field in slot.field.fields.items()}
    found = walk(inner, rest, f"{head}.{name}")
    return Slot(found.field, found.sure and slot.sure)


def _empty(shape: Shape, head: str) -> str | None:
    if shape:
        return None
    if head in HEADS:
        return "it declares none"
    return "it declares none; a tool whose answer is to be read here answers with a TypedDict or a data class"
