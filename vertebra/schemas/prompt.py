"""A prompt as a run pins it: the texts, the fields that go in, the fields that must come back."""

from __future__ import annotations

from functools import cached_property

from vertebra.schemas.canonical import Canonical, Digest, canonical_bytes, digest_of
from vertebra.schemas.fields import Field, fields_of
from vertebra.schemas.record import Recorded


class Prompt(Recorded):
    """One version of one prompt. Its digest is over all of it, so that an edit is another prompt."""

    v: int = 1
    name: str
    version: int
    description: str = ""
    system: str = ""
    template: str
    input_json: str = "{}"
    """The fields of the input (schemas.fields), as JSON text."""
    output_json: str = "{}"
    """The fields of the reply; without any the reply is plain text, given on as `{"text": ...}`."""
    tests_json: str = "[]"
    """The tests that the author wrote beside it, as JSON text."""

    @property
    def ref(self) -> str:
        """`name@version`, as agents cite it."""
        return f"{self.name}@{self.version}"

    @cached_property
    def input(self) -> dict[str, Field]:
        return fields_of(self.input_json)

    @cached_property
    def output(self) -> dict[str, Field]:
        return fields_of(self.output_json)

    @cached_property
    def canonical(self) -> bytes:
        """The bytes that are stored and hashed."""
        plain: Canonical = self.model_dump(mode="json")
        return canonical_bytes(plain)

    @cached_property
    def digest(self) -> Digest:
        return digest_of(self.canonical)
