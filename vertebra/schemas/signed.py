"""The statement that a person or the API signs: what was decided, about exactly what, until when, and only once.

Its canonical bytes are stored beside the signature, so that a reader checks what was signed and not what columns say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, Self

from vertebra.schemas.canonical import canonical_bytes
from vertebra.schemas.record import Authored

Kind = Literal["start", "decision", "command", "publish", "revocation"]


class Statement(Authored):
    """Fields that do not apply are null. Times are aware UTC with microseconds; (key, nonce) is used once."""

    kind: Kind
    id: str
    """What it is about: the run of a start, the approval of a decision, the command, `name@version`, the revocation."""
    run: str | None = None
    epoch: int | None = None
    node: str | None = None
    visit: int | None = None
    digest: str | None = None
    """Of what was shown: a graph for a start or publication, a request for a decision."""
    verb: str | None = None
    arguments_digest: str | None = None
    reason: str | None = None
    person: str
    key: str
    """The id of the key that signs: the person's own, or a signer's."""
    at: str
    expires_at: str | None = None
    nonce: str

    @property
    def canonical(self) -> bytes:
        """The bytes that are signed. Raises NotCanonical."""
        return canonical_bytes(self.model_dump(mode="json"))

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read the bytes that were signed. Raises ValueError where they are not canonical or not a statement."""
        statement = cls.model_validate_json(data)
        if statement.canonical != data:
            raise ValueError("the statement is not in its canonical form")
        return statement


def instant(at: datetime) -> str:
    """An aware time as a statement holds it. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("a statement needs an aware time")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: str) -> datetime:
    """The time that `instant` wrote. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
