"""The seal of a context: an HMAC over its fields and its parent's seal, so that no row of rights can be made or widened
by who merely writes the database. Pure; the key is an argument."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from vertebra.schemas.canonical import canonical_bytes, digest_of

_LABEL = b"vertebra/context/1\n"


@dataclass(frozen=True, slots=True)
class SealKey:
    """The secret of the seals and its public name."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"SealKey(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class ContextFields:
    """Everything of a `contexts` row that the seal covers."""

    id: str
    tenant: str
    run: str
    parent: str | None
    agent: str
    grant: bytes
    """The grant's canonical bytes."""
    depth: int
    expires_at: str | None
    """As `schemas.signed.instant` writes it."""


def seal_key(secret: bytes) -> SealKey:
    """A key named by the first 16 hex digits of a SHA-256 over its label and its secret."""
    return SealKey(hashlib.sha256(b"vertebra/seal-key/1/" + secret).hexdigest()[:16], secret)


def seal_context(fields: ContextFields, parent_seal: bytes | None, key: SealKey) -> bytes:
    """The seal of a context under its parent's; a root has neither parent nor parent's seal. Raises ValueError."""
    if (fields.parent is None) != (parent_seal is None):
        raise ValueError("a context has its parent's seal exactly if it has a parent")
    covered = {
        "id": fields.id,
        "tenant": fields.tenant,
        "run": fields.run,
        "parent": fields.parent,
        "agent": fields.agent,
        "grant": digest_of(fields.grant),
        "depth": fields.depth,
        "expires_at": fields.expires_at,
        "parent_seal": None if parent_seal is None else parent_seal.hex(),
    }
    return hmac.digest(key.secret, _LABEL + canonical_bytes(covered), "sha256")


def is_sealed(fields: ContextFields, parent_seal: bytes | None, seal: bytes, key: SealKey) -> bool:
    """Whether this seal belongs to these fields under this parent."""
    if (fields.parent is None) != (parent_seal is None):
        return False
    return hmac.compare_digest(seal_context(fields, parent_seal, key), seal)
