"""What a command says: one JSON document or text for people on standard output, messages on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vertebra.cli.terminal import visible
from vertebra.schemas.canonical import Json
from vertebra.schemas.money import usd

_DATE = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's words go."""

    as_json: bool

    def give(self, value: Json, text: str) -> None:
        """The answer: `value` as JSON, or `text`."""
        sys.stdout.write(visible(json.dumps(value, ensure_ascii=False, indent=2) if self.as_json else text) + "\n")
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """One of many lines of an answer that is no document."""
        sys.stdout.write(visible(text) + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """A message beside the answer."""
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns; the last one is not padded."""
    lines = [tuple(heads), *(tuple("" if cell is None else one_line(str(cell)) for cell in row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def one_line(text: str) -> str:
    """Somebody's text as a part of a line: it begins none of its own, which could pass for ours."""
    return text.replace("\n", "\\n")


def when(at: datetime | None) -> str:
    """A time for people, in UTC; a dash for none."""
    return "-" if at is None else at.strftime(_DATE) + "Z"


def stamp(at: datetime | None) -> str | None:
    """A time for programs."""
    return None if at is None else at.isoformat()


def money(microusd: int | None) -> str:
    return "-" if microusd is None else usd(microusd)


def span(length: timedelta) -> str:
    """A length of time, in the largest units that matter."""
    seconds = int(length.total_seconds())
    if seconds < 60:
        return f"{max(0.0, length.total_seconds()):.1f}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
