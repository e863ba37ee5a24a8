"""Seals of contexts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vertebra.policies.seal import ContextFields, is_sealed, seal_context, seal_key

KEY = seal_key(b"s" * 32)
ROOT = ContextFields("root", "default", "run-1", None, "", b'{"tools":["a"]}', 0, "2026-01-31T09:30:00.000000Z")
CHILD = replace(ROOT, id="child", parent="root", agent="writer", depth=1)


def test_a_sealed_context_is_recognised() -> None:
    """The seal belongs to these fields under this parent."""
    root = seal_context(ROOT, None, KEY)
    child = seal_context(CHILD, root, KEY)

    assert is_sealed(ROOT, None, root, KEY)
    assert is_sealed(CHILD, root, child, KEY)


@pytest.mark.parametrize(
    "changed",
    [
        replace(CHILD, id="other"),
        replace(CHILD, tenant="other"),
        replace(CHILD, run="run-2"),
        replace(CHILD, parent="other"),
        replace(CHILD, agent="researcher"),
        replace(CHILD, grant=b'{"tools":["a","b"]}'),
        replace(CHILD, depth=0),
        replace(CHILD, expires_at=None),
        replace(CHILD, parent=None),
    ],
)
def test_every_field_is_covered(changed: ContextFields) -> None:
    """Changing any field of a context breaks its seal."""
    root = seal_context(ROOT, None, KEY)

    assert not is_sealed(changed, root, seal_context(CHILD, root, KEY), KEY)


def test_a_changed_ancestor_breaks_its_children() -> None:
    """A child is sealed under its parent's seal, not only its name."""
    child = seal_context(CHILD, seal_context(ROOT, None, KEY), KEY)
    widened = seal_context(replace(ROOT, grant=b'{"tools":["a","b"]}'), None, KEY)

    assert not is_sealed(CHILD, widened, child, KEY)


def test_another_key_makes_another_seal() -> None:
    """Who lacks the key cannot seal."""
    assert not is_sealed(ROOT, None, seal_context(ROOT, None, seal_key(b"x" * 32)), KEY)


def test_a_child_needs_its_parents_seal() -> None:
    """Sealing a child without its parent's seal is a mistake of the caller."""
    with pytest.raises(ValueError, match="parent"):
        seal_context(CHILD, None, KEY)
