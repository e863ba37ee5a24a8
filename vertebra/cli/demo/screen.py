"""What the demo shows: headings, commands, facts that held or did not; colours and a spinner on a terminal only."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from vertebra.cli.output import table

_PLAIN_WORDS = frozenset("=@._-/:,+")


class Screen:
    """Standard output. Every line is out before a command that shares it begins."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._console = Console(highlight=False, soft_wrap=True)

    def title(self, text: str) -> None:
        """What comes now."""
        self.line()
        self.line(f"== {text}", "bold cyan")

    def command(self, words: Sequence[str], remark: str = "") -> None:
        """A command as a person would type it, before it is carried out."""
        self.line("$ " + " ".join(quoted(word) for word in words) + (f"   # {remark}" if remark else ""), "bold")

    def held(self, fact: str) -> None:
        self.line(f"  ok      {fact}", "green")

    def broken(self, fact: str) -> None:
        self.line(f"  FAILED  {fact}", "bold red")

    def line(self, text: str = "", style: str | None = None) -> None:
        """Text as it is."""
        self._console.print(text, style=style, markup=False)
        sys.stdout.flush()

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Columns, folded where a terminal is narrow."""
        if not self.is_terminal:
            self.line(table(heads, rows))
            return
        shown = Table(*heads, box=None, pad_edge=False, header_style="bold")
        for column in shown.columns:
            column.overflow = "fold"
        for row in rows:
            shown.add_row(*row)
        self._console.print(shown, soft_wrap=False)
        sys.stdout.flush()

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """A spinner while something takes its time; elsewhere one line."""
        if not self.is_terminal:
            self.line(f"  ..      {text}")
            yield
            return
        with self._console.status(text):
            yield


def quoted(word: str) -> str:
    """A word for the shell, quoted only where it must be."""
    plain = word and all(letter.isalnum() or letter in _PLAIN_WORDS for letter in word)
    return word if plain else shlex.quote(word)
