"""Search in the project's documents: BM25 over passages.

Kept ranking libraries bring numpy for what is forty lines over a folder of documents.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vertebra.tools.contract import ToolContext, tool

_SUFFIXES = (".md", ".txt")
_MAX_FILES = 1000
_MAX_FILE_BYTES = 1_000_000
_MAX_PASSAGE_CHARS = 1200
_K1, _B = 1.2, 0.75  # Robertson & Zaragoza, The Probabilistic Relevance Framework: the usual values
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Passage:
    """A piece of one document. `score` is in permille of the best that this query could reach."""

    title: str
    path: str
    text: str
    score: int


@dataclass(frozen=True)
class Found:
    """The best passages, best first."""

    results: list[Passage]


@tool(effect="pure", runs="worker", timeout="10s", security_level="low")
def search_docs(
    query: Annotated[str, Field(min_length=1, max_length=1000)],
    context: ToolContext,
    k: Annotated[int, Field(ge=1, le=20)] = 5,
) -> Found:
    """Search the project's documents and return the passages that fit best."""
    passages = list(_passages(context.documents))
    scores = _scores(_words(query), [_words(f"{passage.title} {passage.text}") for passage in passages])
    hits = sorted(
        (Passage(found.title, found.path, found.text, score) for found, score in zip(passages, scores, strict=True)),
        key=lambda hit: -hit.score,
    )
    return Found([hit for hit in hits[:k] if hit.score > 0])


def _passages(folder: Path) -> Iterator[Passage]:
    """Every passage of every readable document, in order of path."""
    root = folder.resolve()
    for path in _documents(root):
        text = path.read_text(encoding="utf-8", errors="replace")
        title = _title(text) or path.stem
        for piece in _pieces(text):
            yield Passage(title, path.relative_to(root).as_posix(), piece, 0)


def _documents(root: Path) -> Sequence[Path]:
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    # a link that leaves the folder is nobody's document
    inside = [path for path in found if path.resolve().is_relative_to(root) and path.stat().st_size <= _MAX_FILE_BYTES]
    return inside[:_MAX_FILES]


def _title(text: str) -> str | None:
    heading = re.search(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    return heading[1] if heading else None


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs, put together while they stay short; a heading stays with the text below it."""
    piece = ""
    for paragraph in re.split(r"\n\s*\n", text):
        begins = paragraph.lstrip().startswith("#") or len(piece) + len(paragraph) > _MAX_PASSAGE_CHARS
        if piece and begins:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph.strip()}".strip()
        while len(piece) > _MAX_PASSAGE_CHARS:
            yield piece[:_MAX_PASSAGE_CHARS]
            piece = piece[_MAX_PASSAGE_CHARS:]
    if piece:
        yield piece


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _scores(query: Sequence[str], documents: Sequence[Sequence[str]]) -> list[int]:
    """BM25 of each document, in permille of its upper bound for this query."""
    terms = sorted(set(query))
    holding = Counter(word for document in documents for word in set(document))
    weight = {term: math.log(1 + (len(documents) - holding[term] + 0.5) / (holding[term] + 0.5)) for term in terms}
    average = sum(map(len, documents)) / len(documents) if documents else 0.0
    best = sum(weight.values()) * (_K1 + 1)
    return [round(1000 * _score(weight, document, average) / best) if best else 0 for document in documents]


def _score(weight: dict[str, float], document: Sequence[str], average: float) -> float:
    counts = Counter(document)
    damping = _K1 * (1 - _B + _B * len(document) / average) if average else _K1
    return sum(value * counts[term] * (_K1 + 1) / (counts[term] + damping) for term, value in weight.items())
