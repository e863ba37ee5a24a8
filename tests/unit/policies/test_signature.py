"""Signed statements, and what is no signature of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vertebra.policies import signature
from vertebra.policies.signature import SigningKey
from vertebra.schemas.errors import BadSignature
from vertebra.schemas.signed import Statement, instant, moment

KEY = SigningKey(b"k" * 32)
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def statement(**given: object) -> Statement:
    plain = {
        "kind": "decision",
        "id": "APPROVAL",
        "run": "run-1",
        "verb": "approve",
        "digest": "sha256:0",
        "person": "ada",
        "key": KEY.id,
        "at": instant(NOW),
        "expires_at": instant(NOW + timedelta(minutes=10)),
        "nonce": "n-1",
    }
    return Statement.model_validate({**plain, **given})


def test_a_signed_statement_verifies() -> None:
    """The bytes and the signature give the statement back."""
    signed = statement()

    found = signature.verify(signed.canonical, signature.sign(signed, KEY), KEY.public)

    assert signed == found


def test_absent_fields_are_signed_as_null() -> None:
    """A statement that leaves a field out cannot be read as one that names it."""
    assert {"epoch", "node", "visit", "arguments_digest", "reason"} <= {
        name for name, value in json.loads(statement().canonical).items() if value is None
    }


def test_every_changed_byte_is_noticed() -> None:
    """Flipping any byte of the statement or the signature breaks it."""
    signed = statement()
    data, sig = signed.canonical, signature.sign(signed, KEY)
    tried = stopped = 0
    for index in range(len(data) + len(sig)):
        changed = bytearray(data + sig)
        changed[index] ^= 1
        tried += 1
        try:
            signature.verify(bytes(changed[: len(data)]), bytes(changed[len(data) :]), KEY.public)
        except BadSignature:
            stopped += 1

    assert tried == stopped


def test_another_key_is_refused() -> None:
    """A signature of somebody else, or a statement that names another key, is none."""
    other = SigningKey(b"o" * 32)
    signed = statement()

    with pytest.raises(BadSignature, match="not of this statement"):
        signature.verify(signed.canonical, signature.sign(signed, KEY), other.public)
    with pytest.raises(BadSignature, match="names key"):
        signature.sign(signed, other)


def test_a_key_signs_only_under_its_own_name() -> None:
    """A valid signature over a statement that names another key does not count as that key's."""
    other = SigningKey(b"o" * 32)
    renamed = statement(key="0123456789abcdef")
    forged = Ed25519PrivateKey.from_private_bytes(other.secret).sign(renamed.canonical)

    with pytest.raises(BadSignature, match="names key"):
        signature.verify(renamed.canonical, forged, other.public)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"kind":"decision"}', b"null"])
def test_what_is_no_statement_is_refused(data: bytes) -> None:
    """Signed bytes that are no statement say so."""
    signed = Ed25519PrivateKey.from_private_bytes(KEY.secret).sign(data)

    with pytest.raises(BadSignature, match="cannot be read"):
        signature.verify(data, signed, KEY.public)


def test_a_second_spelling_of_a_statement_is_refused() -> None:
    """Spaces, other orders and repeated keys are not canonical, however well they are signed."""
    spaced = json.dumps(json.loads(statement().canonical)).encode()
    doubled = statement().canonical[:-1] + b',"verb":"approve"}'
    for data in (spaced, doubled):
        signed = Ed25519PrivateKey.from_private_bytes(KEY.secret).sign(data)

        with pytest.raises(BadSignature, match="canonical"):
            signature.verify(data, signed, KEY.public)


def test_times_are_checked() -> None:
    """A statement counts from its own time on until it expires."""
    signature.check_times(statement(), NOW)
    signature.check_times(statement(expires_at=None), NOW + timedelta(days=1000))

    with pytest.raises(BadSignature, match="expired"):
        signature.check_times(statement(), NOW + timedelta(minutes=10))
    with pytest.raises(BadSignature, match="future"):
        signature.check_times(statement(), NOW - timedelta(minutes=6))
    with pytest.raises(BadSignature, match="cannot be read"):
        signature.check_times(statement(at="yesterday"), NOW)


def test_a_time_is_kept_to_the_microsecond() -> None:
    """Writing and reading a time loses nothing; a naive one is refused."""
    precise = NOW.replace(microsecond=7)

    assert precise == moment(instant(precise))
    with pytest.raises(ValueError, match="aware"):
        instant(precise.replace(tzinfo=None))


def test_a_key_shows_its_name_only() -> None:
    """The secret is in no representation of the key."""
    assert f"SigningKey(id='{KEY.id}')" == repr(KEY)
    assert 16 == len(KEY.id)
