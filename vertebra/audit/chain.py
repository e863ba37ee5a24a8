"""How entries are sealed: each holds the hash of the one before it, and a MAC whose key no database holds. Pure.

`hash` is a plain SHA-256 of the stored body, so a stranger can check the chain; the MAC, over that hash, is what a
writer of the database cannot make.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from vertebra.schemas.audit import Entry, Head, Sealed, StreamName, entry_body
from vertebra.schemas.ids import RunId, Tenant


@dataclass(frozen=True, slots=True)
class MacKey:
    """A secret HMAC key and its public name."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"MacKey(id={self.id!r})"


def mac_key(secret: bytes) -> MacKey:
    """A key named by the first 16 hex digits of a SHA-256 over its label and its secret."""
    return MacKey(hashlib.sha256(b"vertebra/mac-key/1/" + secret).hexdigest()[:16], secret)


def run_stream(run: RunId) -> StreamName:
    """The stream of a run is named as the run; run ids hold no slash."""
    return StreamName(run)


def admin_stream(tenant: Tenant) -> StreamName:
    """The stream of what belongs to no run: publishing, people, prices, revocations, refused starts."""
    return StreamName(f"admin/{tenant}")


def first_hash(stream: str) -> bytes:
    """The `prev_hash` of a stream's first entry."""
    return hashlib.sha256(f"vertebra/1/{stream}".encode()).digest()


def opened(stream: str) -> Head:
    """The head of a stream without entries."""
    return Head(stream=stream, seq=0, hash=first_hash(stream))


def seal(entry: Entry, stream: str, seq: int, prev_hash: bytes, key: MacKey) -> Sealed:
    """The entry as number `seq` of its stream. Raises NotCanonical if a field has no canonical form."""
    body = entry_body(entry, stream, seq, prev_hash)
    digest = hashlib.sha256(body).digest()
    mac = mac_of(digest, key)
    # nothing to validate: every value was made here
    return Sealed.model_construct(
        stream=stream, seq=seq, body=body, prev_hash=prev_hash, hash=digest, mac=mac, key_id=key.id
    )


def seal_all(entries: Iterable[Entry], head: Head, key: MacKey) -> tuple[Sealed, ...]:
    """Entries after a head, one after the other."""
    sealed: list[Sealed] = []
    seq, prev = head.seq, head.hash
    for entry in entries:
        seq += 1
        sealed.append(seal(entry, head.stream, seq, prev, key))
        prev = sealed[-1].hash
    return tuple(sealed)


def mac_of(digest: bytes, key: MacKey) -> bytes:
    """HMAC-SHA-256 of an entry's hash."""
    return hmac.digest(key.secret, digest, "sha256")
