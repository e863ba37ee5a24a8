"""A tool's definition survives being pinned: the bytes give back the same definition, under the same digest."""

from __future__ import annotations

import pytest

from vertebra.schemas.canonical import canonical_bytes, digest_of
from vertebra.schemas.tool import ToolSpec
from vertebra.tools.registry import builtin


@pytest.mark.parametrize("name", sorted(builtin().specs))
def test_a_pinned_definition_is_read_back(name: str) -> None:
    """What is stored under a pin is the whole definition, schemas included."""
    spec = builtin().get(name).spec

    data = canonical_bytes(spec.canonical)

    assert spec.digest == digest_of(data)
    assert spec == ToolSpec.of(data)
