"""Sealing of entries, and the bytes that are sealed."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tests.stores import AUDIT_KEY, entry
from vertebra.audit.chain import first_hash, mac_key, opened, seal, seal_all
from vertebra.schemas.audit import RESERVED, Content, Entry, entry_body, timestamp
from vertebra.schemas.canonical import NotCanonical

anything = st.text(st.characters(codec=None), max_size=200)


@given(anything, anything, st.dictionaries(st.sampled_from(["a", "b-c"]), anything | st.integers(-9, 9) | st.none()))
def test_no_text_is_unwritable(text: str, error: str, detail: dict[str, str | int | None]) -> None:
    """NUL, lone surrogates and every other character are sealed, and the bytes are RFC 8785."""
    body = entry_body(entry(text, error=error, output=Content.of(text), detail=detail), "run-1", 1, b"\0" * 32)

    assert rfc8785.dumps(json.loads(body)) == body


@given(anything)
def test_content_is_counted_as_it_is_written(text: str) -> None:
    """Digest and size are of the text's bytes, a lone surrogate being its escape."""
    content = Content.of(text)
    written = (content.text or "").encode()

    assert len(written) == content.size
    assert hashlib.sha256(written).hexdigest() == content.sha256


def test_kept_content_is_cut_but_counted_whole() -> None:
    """A retention rule shortens the text, not the digest."""
    content = Content.of("abcdef", keep=3)

    assert ("abc", 6, hashlib.sha256(b"abcdef").hexdigest()) == (content.text, content.size, content.sha256)


def test_an_entry_is_hashed_with_its_place() -> None:
    """The formulas of hash, MAC and first hash, by hand."""
    begin = hashlib.sha256(b"vertebra/1/run-1").digest()

    sealed = seal(entry(), "run-1", 1, begin, AUDIT_KEY)

    body = json.loads(sealed.body)
    assert begin == first_hash("run-1")
    assert ("run-1", 1, begin.hex()) == (body["stream"], body["seq"], body["prev_hash"])
    assert hashlib.sha256(sealed.body).digest() == sealed.hash
    assert hmac.new(b"a" * 32, sealed.hash, "sha256").digest() == sealed.mac


def test_entries_follow_one_another() -> None:
    """Each holds the hash of the one before it."""
    first, second = seal_all([entry("a"), entry("b")], opened("run-1"), AUDIT_KEY)

    assert (1, 2) == (first.seq, second.seq)
    assert first.hash == second.prev_hash


def test_every_field_is_in_every_entry() -> None:
    """The published schema names exactly the fields of a sealed body, all of them there."""
    body = json.loads(entry_body(entry(), "run-1", 1, b"\0" * 32))

    assert {*Entry.model_json_schema()["properties"], "v", "stream", "seq", "prev_hash"} == set(body)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_detail_cannot_pose_as_the_place_of_an_entry(name: str) -> None:
    """Stream, sequence and prev_hash stand once in a body."""
    with pytest.raises(NotCanonical, match="detail"):
        entry_body(entry(detail={name: 1}), "run-1", 1, b"\0" * 32)


def test_numbers_beyond_the_exact_are_refused() -> None:
    """An integer of 2^53 has no one form in JSON."""
    with pytest.raises(NotCanonical, match="2\\^53"):
        entry_body(entry(cost_microusd=2**53), "run-1", 1, b"\0" * 32)


def test_times_are_utc_with_microseconds() -> None:
    """A time says its zone; a naive one is refused."""
    assert "2026-01-31T09:30:00.000007Z" == timestamp(datetime(2026, 1, 31, 9, 30, 0, 7, tzinfo=UTC))
    with pytest.raises(ValueError, match="aware"):
        timestamp(datetime(2026, 1, 31, tzinfo=UTC).replace(tzinfo=None))


def test_a_key_shows_its_name_only() -> None:
    """The secret is in no representation, and other secrets have other names."""
    assert f"MacKey(id='{AUDIT_KEY.id}')" == repr(AUDIT_KEY)
    assert AUDIT_KEY.id != mac_key(b"b" * 32).id
