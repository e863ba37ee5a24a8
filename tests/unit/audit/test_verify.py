"""The verifier over rows and export files, without a database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores import AUDIT_KEY, KEYS, entry, sha256
from vertebra.audit.chain import opened, seal_all
from vertebra.audit.export import entry_line, head_line, verify_file, verify_lines
from vertebra.audit.remembered import load_heads, save_heads
from vertebra.audit.trace import traced
from vertebra.audit.verify import Stored, verify
from vertebra.schemas.audit import Head
from vertebra.schemas.errors import BadFile

PER_STREAM = 6
STREAMS = ("admin/default", "run-1", "run-2")


def sealed(stream: str, count: int = PER_STREAM) -> list[Stored]:
    entries = [entry(f"{stream} {number}") for number in range(count)]
    return [
        Stored(row.stream, row.seq, row.body, row.prev_hash, row.hash, row.mac, row.key_id)
        for row in seal_all(entries, opened(stream), AUDIT_KEY)
    ]


def end_of(rows: list[Stored]) -> Head:
    return Head(stream=rows[-1].stream, seq=rows[-1].seq, hash=rows[-1].hash)


ROWS = [row for stream in STREAMS for row in sealed(stream)]
HEADS = {stream: end_of(sealed(stream)) for stream in STREAMS}


def exported(rows: list[Stored]) -> list[bytes]:
    return [line.encode() for line in [*map(head_line, HEADS.values()), *map(entry_line, rows)]]


def test_what_was_sealed_verifies() -> None:
    """An untouched audit has no finding, in rows and as a file, with and without keys."""
    for keys in (None, KEYS):
        report = verify(ROWS, HEADS, keys)

        assert (True, 3, 18, keys is not None) == (report.ok, report.streams, report.entries, report.macs_checked)
        assert HEADS == report.heads
        assert verify_lines(exported(ROWS), keys).ok


@given(st.integers(0, len(ROWS) - 1), st.sampled_from(["body", "prev_hash", "hash", "mac"]), st.data())
def test_any_flipped_bit_is_named_by_stream_and_sequence(at: int, field: str, data: st.DataObject) -> None:
    """Flip any bit of any field of any entry: a finding names that very entry."""
    row = ROWS[at]
    old: bytes = getattr(row, field)
    bit = data.draw(st.integers(0, len(old) * 8 - 1))
    new = bytearray(old)
    new[bit // 8] ^= 1 << (bit % 8)
    rows = [*ROWS[:at], Stored(**{**row._asdict(), field: bytes(new)}), *ROWS[at + 1 :]]

    for report in (verify(rows, HEADS, KEYS), verify_lines(exported(rows), KEYS)):
        assert (row.stream, row.seq) in {(found.stream, found.seq) for found in report.findings}


EDITS: dict[str, tuple[Callable[[], list[Stored]], str, int, str]] = {
    "dropped": (lambda: [row for row in ROWS if row[:2] != ("run-1", 3)], "run-1", 3, "missing: 3 before entry 4"),
    "dropped two": (lambda: ROWS[:8] + ROWS[10:], "run-1", 3, "missing: 3 to 4 before entry 5"),
    "cut off": (lambda: ROWS[:10] + ROWS[12:], "run-1", 5, "cut off: the stream must go on to entry 6"),
    "swapped": (lambda: [*ROWS[:7], ROWS[8], ROWS[7], *ROWS[9:]], "run-1", 2, "repeated or out of order"),
    "repeated": (lambda: [*ROWS[:8], ROWS[7], *ROWS[8:]], "run-1", 2, "repeated or out of order"),
    "renumbered": (lambda: [*ROWS[:11], ROWS[11]._replace(seq=7), *ROWS[12:]], "run-1", 7, "belongs elsewhere"),
    "moved": (
        lambda: [*ROWS[:12], ROWS[0]._replace(stream="run-2", seq=1), *ROWS[13:]],
        "run-2",
        1,
        "belongs elsewhere",
    ),
    "stream gone": (lambda: ROWS[:12], "run-2", 1, "all 6 entries of the stream are missing"),
    "unknown stream": (lambda: ROWS + sealed("run-3"), "run-3", 6, "without a run or stream"),
    "past the head": (lambda: ROWS[:6] + sealed("run-1", 7) + ROWS[12:], "run-1", 7, "appended past the head"),
    "unknown key": (lambda: [ROWS[0]._replace(key_id="x"), *ROWS[1:]], "admin/default", 1, "the unknown key 'x'"),
    "no entry": (
        lambda: [ROWS[0]._replace(body=b"[]", hash=sha256(b"[]")), *ROWS[1:]],
        "admin/default",
        1,
        "not an entry",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_with_what_is_wrong(edit: str) -> None:
    """Each edit is found where it was made, in words that fit it; rows and file agree."""
    rows, stream, seq, what = EDITS[edit]

    for report in (verify(rows(), HEADS, KEYS), verify_lines(exported(rows()), KEYS)):
        assert any((stream, seq) == (found.stream, found.seq) and what in found.what for found in report.findings)


def test_a_rebuilt_chain_is_found_by_its_macs_only() -> None:
    """Whoever rebuilds all hashes without the key passes a stranger's check, and fails ours."""
    rebuilt, prev = [], None
    for row in sealed("run-1"):
        body = row.body.replace(b"run-1 2", b"run-1 X")
        body = body if prev is None else body.replace(row.prev_hash.hex().encode(), prev.hex().encode())
        rebuilt.append(row._replace(body=body, prev_hash=prev or row.prev_hash, hash=sha256(body)))
        prev = rebuilt[-1].hash
    heads = {"run-1": end_of(rebuilt)}

    assert verify(rebuilt, heads).ok
    assert [3, 4, 5, 6] == [found.seq for found in verify(rebuilt, heads, KEYS).findings]


def test_a_remembered_head_shows_a_stream_cut_with_its_head() -> None:
    """Rolling stream and head back together is found by who has seen them before, and by nobody else."""
    cut = sealed("run-1")[:4]
    heads = {"run-1": end_of(cut)}

    assert verify(cut, heads, KEYS).ok
    for remembered in ({"run-1": HEADS["run-1"]}, {"run-2": HEADS["run-2"]}):
        (finding,) = verify(cut, heads, KEYS, remembered).findings
        assert "rolled back: an earlier verification saw entry 6" == finding.what


def test_another_history_of_the_same_length_is_found_by_memory() -> None:
    """An old backup that went on differently does not hold the remembered entry."""
    known = {"run-1": Head(stream="run-1", seq=3, hash=b"\1" * 32)}

    (finding,) = verify(sealed("run-1"), HEADS | {}, KEYS, known).findings[:1]

    assert (3, True) == (finding.seq, "earlier verification" in finding.what)


def test_heads_are_remembered_across_verifications(tmp_path: Path) -> None:
    """Saved heads come back, and a later save keeps streams that it did not see."""
    path = tmp_path / "heads.jsonl"
    save_heads(path, {"run-1": HEADS["run-1"]})
    save_heads(path, {"run-2": HEADS["run-2"]})

    assert {"run-1": HEADS["run-1"], "run-2": HEADS["run-2"]} == load_heads(path)
    assert {} == load_heads(tmp_path / "none")
    path.write_text("{}\n")
    with pytest.raises(BadFile):
        load_heads(path)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_a_file_of_anything_gives_findings_not_errors(data: bytes) -> None:
    """Garbage in an export is told by line, never raised."""
    report = verify_lines([*exported(ROWS[:3]), data], KEYS)

    assert not report.ok


def test_an_edited_file_names_the_entry(tmp_path: Path) -> None:
    """One changed word of an exported file is found at its stream and sequence."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(exported(ROWS)).replace(b"run-1 2", b"run-1 9") + b"\n")

    report = verify_file(path)

    assert ["run-1 entry 3: the body was changed: it does not have the stored hash"] == list(map(str, report.findings))


def test_an_empty_audit_is_fine() -> None:
    """A stream that was opened and never written to has its beginning as head."""
    fresh = opened("run-9")

    assert verify([], {"run-9": fresh}).ok
    (finding,) = verify([], {"run-9": Head(stream="run-9", seq=0, hash=b"x")}).findings
    assert "run-9" == finding.stream


def test_a_stored_entry_reads_back() -> None:
    """Tracing shows the entry as it was written."""
    assert entry("run-1 0") == traced(sealed("run-1")[0]).entry


def test_it_is_fast_enough() -> None:
    """At least 30,000 entries a second here, where the machine is shared; `make bench` quotes the figure."""
    rows = sealed("run-1", 5_000)
    begin = time.process_time()
    report = verify(rows, {"run-1": end_of(rows)}, KEYS)

    assert report.ok
    assert 30_000 < len(rows) / (time.process_time() - begin)
