"""What `vertebra dev` takes for a change of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.cli.dev import _stamps

WATCHED = ("tools/weigh.py", "tools/_routes.py", "routes.py", "routing/choose.py", "graphs/g.yaml", "prompts/p.yaml")


@pytest.mark.parametrize("name", WATCHED)
def test_every_file_that_a_graph_is_made_from_is_watched(tmp_path: Path, name: str) -> None:
    """A new file, and another text of it, is a change."""
    before = frozenset(_stamps(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("1")
    made = frozenset(_stamps(tmp_path))
    (tmp_path / name).write_text("22")

    assert 3 == len({before, made, frozenset(_stamps(tmp_path))})
