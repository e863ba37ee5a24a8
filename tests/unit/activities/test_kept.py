"""What a worker remembers is bounded."""

from __future__ import annotations

from vertebra.activities.kept import Kept


def test_the_oldest_leaves_first() -> None:
    """The newest values stay; writing one again makes it new."""
    kept: Kept[str, int] = Kept(2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        kept[key] = value

    assert {"a": 3, "c": 4} == kept
