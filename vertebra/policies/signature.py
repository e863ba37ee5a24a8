"""Ed25519 over statements: who signed, with which key, and whether it still counts. Pure; keys are arguments."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vertebra.schemas.errors import BadSignature
from vertebra.schemas.signed import Statement, moment

KEY_BYTES = 32
CLOCK_SKEW = timedelta(minutes=5)
"""How far the clock of who signed may be ahead of the database's."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key: 32 raw bytes, never shown."""

    secret: bytes

    def __repr__(self) -> str:
        return f"SigningKey(id={self.id!r})"

    @property
    def public(self) -> bytes:
        """The raw public half, as a `people` row keeps it."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """The key's public name."""
        return key_id(self.public)


def key_id(public: bytes) -> str:
    """The name of a key: the first 16 hex digits of the SHA-256 of its 32 raw public bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


def sign(statement: Statement, key: SigningKey) -> bytes:
    """The signature of a statement that names this very key. Raises BadSignature, NotCanonical."""
    if statement.key != key.id:
        raise BadSignature(f"the statement names key {statement.key!r}, not {key.id!r}")
    return Ed25519PrivateKey.from_private_bytes(key.secret).sign(statement.canonical)


def verify(data: bytes, signature: bytes, public: bytes) -> Statement:
    """The statement that these bytes are, if this key signed them and they name it. Raises BadSignature."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
        statement = Statement.of(data)
    except InvalidSignature:
        raise BadSignature("the signature is not of this statement by this key") from None
    except ValueError as error:
        raise BadSignature(f"the statement or the key cannot be read: {error}") from None
    if statement.key != key_id(public):
        raise BadSignature(f"the statement names key {statement.key!r}, but {key_id(public)!r} signed it")
    return statement


def check_times(statement: Statement, now: datetime) -> None:
    """Refuse a statement that has expired or comes from the future. Raises BadSignature."""
    try:
        at = moment(statement.at)
        until = None if statement.expires_at is None else moment(statement.expires_at)
    except ValueError:
        raise BadSignature("the statement's times cannot be read") from None
    if at > now + CLOCK_SKEW:
        raise BadSignature(f"the statement was signed in the future, at {statement.at}", do="set the clock right")
    if until is not None and now >= until:
        raise BadSignature(f"the statement expired at {statement.expires_at}", do="sign it again")
