"""Signs what a person decided, so that the row counts by itself, whoever carried it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from vertebra.policies.signature import SigningKey, sign
from vertebra.schemas.signed import Kind, Statement, instant
from vertebra.store.transaction import Param


@dataclass(frozen=True, slots=True)
class Signer:
    """A person with the key that signs: the person's own, or that of an enrolled signer."""

    person: str
    key: SigningKey
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """The clock of who signs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a statement says, besides who, when and how long; the fields of `schemas.signed.Statement`."""

    kind: Kind
    id: str
    run: str | None = None
    epoch: int | None = None
    node: str | None = None
    visit: int | None = None
    digest: str | None = None
    verb: str | None = None
    arguments_digest: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """A statement and the signature over its canonical bytes."""

    statement: Statement
    signature: bytes

    @property
    def params(self) -> dict[str, Param]:
        """The columns of a signed row."""
        return {
            "person": self.statement.person,
            "key": self.statement.key,
            "nonce": self.statement.nonce,
            "statement": self.statement.canonical,
            "signature": self.signature,
        }


def signed(signer: Signer, about: About, lifetime: timedelta | None = None) -> Signature:
    """Sign now, with a fresh nonce; by default for good."""
    now = signer.now()
    statement = Statement(
        **asdict(about),
        person=signer.person,
        key=signer.key.id,
        at=instant(now),
        expires_at=None if lifetime is None else instant(now + lifetime),
        nonce=secrets.token_hex(16),
    )
    return Signature(statement, sign(statement, signer.key))
