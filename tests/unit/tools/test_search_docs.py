"""Searching the project's documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vertebra.schemas.errors import BadArguments
from vertebra.tools.builtin.search_docs import search_docs
from vertebra.tools.checks import check_output
from vertebra.tools.context import ToolContext


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    documents = tmp_path / "project" / "documents"
    (documents / "de").mkdir(parents=True)
    (documents / "refunds.md").write_text("# Refunds\n\nA refund takes five days.\n\n## Limits\n\nAt most 100 dollars.")
    (documents / "shipping.txt").write_text("Parcels leave the house every morning.")
    (documents / "de" / "lieferung.md").write_text("# Lieferung\n\nPakete gehen jeden Morgen hinaus. Größe egal.")
    (documents / "photo.png").write_bytes(b"refund refund refund")
    return ToolContext(idempotency_key="K", project=tmp_path / "project", maildir=tmp_path / "mail")


async def search(context: ToolContext, query: str, k: int = 5) -> list[dict[str, Any]]:
    answer = await search_docs.call({"query": query, "k": k}, context)
    check_output(search_docs.spec, answer)
    assert isinstance(answer, dict)
    results: Any = answer["results"]
    return list(results)


async def test_the_best_passage_comes_first(context: ToolContext) -> None:
    """The passage that holds the words comes first, with its title, path and score."""
    first = (await search(context, "How long does a refund take?"))[0]

    assert (first["title"], first["path"]) == ("Refunds", "refunds.md")
    assert "five days" in first["text"]
    assert 0 < first["score"] <= 1000


async def test_words_are_compared_without_case(context: ToolContext) -> None:
    """Case and folded letters do not matter."""
    assert (await search(context, "GRÖSSE"))[0]["path"] == "de/lieferung.md"


async def test_no_fitting_word_gives_no_result(context: ToolContext) -> None:
    """A query without a hit gives an empty list, not the least bad passage."""
    assert await search(context, "quantum") == []


async def test_k_bounds_the_results(context: ToolContext) -> None:
    """At most k passages come back."""
    assert len(await search(context, "refund dollars parcels", k=1)) == 1


async def test_a_missing_folder_gives_no_result(tmp_path: Path) -> None:
    """A project without documents is no error."""
    assert await search(ToolContext(idempotency_key="K", project=tmp_path, maildir=tmp_path), "refund") == []


async def test_links_out_of_the_folder_are_not_read(context: ToolContext, tmp_path: Path) -> None:
    """A link to a file or folder outside the documents is passed over."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("the canary sings")
    (context.documents / "link.md").symlink_to(outside / "secret.md")
    (context.documents / "folder").symlink_to(outside)

    assert await search(context, "canary") == []


async def test_the_folder_is_no_argument(context: ToolContext) -> None:
    """A model cannot choose where to search."""
    with pytest.raises(BadArguments):
        await search_docs.call({"query": "x", "folder": "/etc"}, context)


async def test_the_same_search_gives_the_same_answer(context: ToolContext) -> None:
    """Ties are broken by path, so two searches agree."""
    (context.documents / "a.md").write_text("same words here")
    (context.documents / "b.md").write_text("same words here")

    found = await search(context, "same words")

    assert [hit["path"] for hit in found] == ["a.md", "b.md"]
    assert found == await search(context, "same words")
