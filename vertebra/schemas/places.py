"""Where an authored value stands, so that every complaint can say file and line."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from vertebra.schemas.errors import Complaints, GraphError

Path: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead to a value from the top of its file."""


class Places(Protocol):
    """Tells the place of each value of one authored file."""

    def at(self, path: Path) -> str:
        """`file:line` of the value (of its key, where it has one), or of the nearest thing above it that exists."""
        ...

    def in_text(self, path: Path, line: int) -> str:
        """`file:line` of a line (from 0) inside the text that stands at `path`."""
        ...


class Complain(Protocol):
    """Takes one mistake; the reader goes on, so that an author sees all of them at once."""

    def __call__(self, path: Path, message: str, do: str | None = None, /) -> None: ...


class Unplaced:
    """The places of a value that came from no file: dotted paths under a name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def at(self, path: Path) -> str:
        return dotted(path, self._name)

    def in_text(self, path: Path, line: int) -> str:
        return f"{self.at(path)} line {line + 1}"


class ComplaintList:
    """Collects the mistakes of one file, each with its place (a `Complain`)."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.found: list[GraphError] = []

    def __call__(self, path: Path, message: str, do: str | None = None, /) -> None:
        self.found.append(GraphError(message, at=self.places.at(path), do=do))

    def in_text(self, path: Path, line: int, message: str, do: str | None = None) -> None:
        """A mistake in a line (from 0) of the text at `path`."""
        self.found.append(GraphError(message, at=self.places.in_text(path, line), do=do))

    def raise_any(self) -> None:
        """Raise Complaints, all of them together, if there are any."""
        if self.found:
            raise Complaints(self.found)


def dotted(path: Path, top: str = "") -> str:
    """`("a", 3, "b")` as `a[3].b`, after the name of the top value where one is given."""
    text = top
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the value"
