"""Reply files are read strictly, all mistakes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.providers.reply_files import read_replies
from vertebra.schemas.errors import Complaints


def test_files_are_named_after_their_nodes(tmp_path: Path) -> None:
    """Each file belongs to the node of its name; a project without scripted replies has none."""
    (tmp_path / "classify.yaml").write_text("- {reply: hi}\n")

    assert {"classify": [{"reply": "hi"}]} == read_replies(tmp_path)
    assert {} == read_replies(tmp_path / "nothing")


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path) -> None:
    """Wrong entries of several files come together, each with file and line, unreadable files included."""
    (tmp_path / "a.yaml").write_text("- {reply: hi}\n- {repyl: hi}\n- {match: '('}\n")
    (tmp_path / "b.yaml").write_text("- {reply: hi, reply: ho}\n")

    with pytest.raises(Complaints) as caught:
        read_replies(tmp_path)

    assert "replies/a.yaml:2: entry 2 has no key 'repyl'; did you mean 'reply'?" == str(caught.value.complaints[0])
    assert ["replies/a.yaml:2", "replies/a.yaml:3", "replies/b.yaml:1:15"] == [
        mistake.at for mistake in caught.value.complaints
    ]
