"""Checks stored entries without trusting who stored them: every finding names stream, sequence and what is wrong.

It shares no code with the writer but the hash of a stream's beginning and the MAC. What it proves: entries are as they
were sealed, in order, none missing before the head that the rows outside the audit name. What it does not: whoever can
write the database can cut a stream's end *and* its head, or delete run and stream together. Only heads remembered from
an earlier verification, or a witness outside, show that; pass them as `remembered`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from vertebra.audit.chain import MacKey, first_hash, mac_of
from vertebra.schemas.audit import Head


class Stored(NamedTuple):
    """One row of the audit, or one line of an export, as found."""

    stream: str
    seq: int
    body: bytes
    prev_hash: bytes
    hash: bytes
    mac: bytes
    key_id: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    stream: str
    seq: int
    what: str

    def __str__(self) -> str:
        return f"{self.stream} entry {self.seq}: {self.what}"


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a verification. `heads` are worth remembering only if nothing was found."""

    streams: int
    entries: int
    findings: tuple[Finding, ...]
    macs_checked: bool
    heads: Mapping[str, Head]

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(
    entries: Iterable[Stored],
    heads: Mapping[str, Head],
    keys: Mapping[str, MacKey] | None = None,
    remembered: Mapping[str, Head] | None = None,
) -> Report:
    """Check entries, given stream by stream and in order, against the heads that rows outside the audit name.

    Without keys the MACs are not checked, and who rebuilt the whole chain is not found.
    """
    findings: list[Finding] = []
    ends: dict[str, Head] = {}
    total = 0
    for stream, rows in groupby(entries, key=lambda row: row.stream):
        if stream in ends:
            findings.append(Finding(stream, 0, "the stream's entries are not together"))
        known = (remembered or {}).get(stream)
        walk = _Walk(stream, keys, known)
        for row in rows:
            findings.extend(walk.check(row))
        total += walk.count
        ends[stream] = walk.end
        findings.extend(_compare_end(walk, heads.get(stream), known))
    findings.extend(_missing(ends, heads, remembered or {}))
    return Report(len(ends), total, tuple(findings), keys is not None, ends)


class _Walk:
    """Where one stream's check stands."""

    def __init__(self, stream: str, keys: Mapping[str, MacKey] | None, known: Head | None) -> None:
        self.stream = stream
        self.count = 0
        self.seen_known = known is None or known.seq == 0
        self._known = known
        self._keys = keys
        self._seq = 0
        self._hash = first_hash(stream)

    @property
    def end(self) -> Head:
        return Head(stream=self.stream, seq=self._seq, hash=self._hash)

    def check(self, row: Stored) -> Iterator[Finding]:
        """What is wrong with this entry; the walk then goes on from what it claims to be."""
        self.count += 1
        if row.seq != self._seq + 1:
            yield self._gap(row)
        if hashlib.sha256(row.body).digest() != row.hash:
            yield Finding(self.stream, row.seq, "the body was changed: it does not have the stored hash")
        elif (odd := _odd_place(row)) is not None:
            yield Finding(self.stream, row.seq, odd)
        if row.prev_hash != self._hash:
            yield Finding(self.stream, row.seq, "it does not follow the entry before it: prev_hash differs")
        if self._keys is not None and (odd := _odd_mac(row, self._keys)) is not None:
            yield Finding(self.stream, row.seq, odd)
        self._seq, self._hash = row.seq, row.hash
        if self._known is not None and row.seq == self._known.seq:
            self.seen_known = True
            if row.hash != self._known.hash:
                yield Finding(self.stream, row.seq, "it is not the entry that an earlier verification saw here")

    def _gap(self, row: Stored) -> Finding:
        wanted = self._seq + 1
        if row.seq <= self._seq:
            return Finding(self.stream, row.seq, f"this sequence stands after {self._seq}: repeated or out of order")
        lost = str(wanted) if row.seq == wanted + 1 else f"{wanted} to {row.seq - 1}"
        return Finding(self.stream, wanted, f"missing: {lost} before entry {row.seq}")


def _odd_place(row: Stored) -> str | None:
    """Whether the body says that it belongs elsewhere."""
    # what a sealed body holds only once: quotes inside its strings are escaped, and no detail may have these names
    body = row.body
    if (
        b'"prev_hash":"%b"' % row.prev_hash.hex().encode() in body
        and b'"seq":%d,' % row.seq in body
        and b'"stream":%b' % json.dumps(row.stream).encode() in body
    ):
        return None
    try:
        fields = json.loads(body)
        claimed = (fields["stream"], fields["seq"], fields["prev_hash"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "the body is not an entry"
    if claimed == (row.stream, row.seq, row.prev_hash.hex()):
        return None
    return f"the body belongs elsewhere: it is entry {claimed[1]!r} of {claimed[0]!r} after {str(claimed[2])[:12]!r}"


def _odd_mac(row: Stored, keys: Mapping[str, MacKey]) -> str | None:
    key = keys.get(row.key_id)
    if key is None:
        return f"it names the unknown key {row.key_id!r}"
    if not hmac.compare_digest(mac_of(row.hash, key), row.mac):
        return "its MAC was not made with the audit key"
    return None


def _compare_end(walk: _Walk, head: Head | None, known: Head | None) -> Iterator[Finding]:
    end = walk.end
    if head is None:
        yield Finding(walk.stream, end.seq, "entries without a run or stream: the row that names their end is gone")
    elif end.seq < head.seq:
        yield Finding(walk.stream, end.seq + 1, f"cut off: the stream must go on to entry {head.seq}")
    elif end.seq > head.seq:
        yield Finding(walk.stream, head.seq + 1, f"appended past the head, which is entry {head.seq}")
    elif end.hash != head.hash:
        yield Finding(walk.stream, end.seq, "the last entry is not the one that the head names")
    if known is not None and not walk.seen_known:
        yield _rolled_back(known, end.seq)


def _missing(ends: Mapping[str, Head], heads: Mapping[str, Head], remembered: Mapping[str, Head]) -> Iterator[Finding]:
    for stream, head in sorted(heads.items()):
        if head.seq > 0 and stream not in ends:
            yield Finding(stream, 1, f"all {head.seq} entries of the stream are missing")
        elif head.seq == 0 and stream not in ends and head.hash != first_hash(stream):
            yield Finding(stream, 0, "the head of the empty stream is not its beginning")
    for stream, known in sorted(remembered.items()):
        if known.seq > 0 and stream not in ends:
            yield _rolled_back(known, 0)


def _rolled_back(known: Head, seq: int) -> Finding:
    return Finding(known.stream, seq + 1, f"rolled back: an earlier verification saw entry {known.seq}")
