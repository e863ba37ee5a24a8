"""What may be written to a terminal. Models and strangers wrote parts of it, and a terminal obeys what it is told."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys

_COMMANDS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_HALVES = range(0xD800, 0xE000)
"""Of a pair of surrogates: one alone cannot be written at all."""
_TURNS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = {code: f"\\u{code:04x}" for code in (*_COMMANDS, *_TURNS, *_HALVES) if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    """The text without what a terminal obeys, and without what turns the order of letters.

    Such a character is shown by its number, as JSON writes it too; lines and tabs stay.
    """
    return text.translate(_SHOWN)


def open_streams() -> None:
    """Let every text be written, also to a terminal that has no letters for it, and where a stream was closed."""
    codecs.register_error("by_number", _by_number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us; the next file or socket would take its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # as long as the process
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="by_number")


def _by_number(error: UnicodeError) -> tuple[str, int]:
    """What cannot be encoded as JSON writes it, so that a document stays the same document."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
