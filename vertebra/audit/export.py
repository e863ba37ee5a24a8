"""The audit as JSON lines, for readers without the database: each stream's head, then entries as they were hashed.

A line is `{"stream", "seq", "prev_hash", "hash", "mac", "key_id", "body"}`, or `{"head", "seq", "hash"}`. Bytes are
hex; what follows `"body":` up to the last brace is, byte for byte, what was hashed. `verify_file` needs the file only,
and the audit keys for the MACs.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

from vertebra.audit.chain import MacKey
from vertebra.audit.read import all_entries, entries_of, head_of, heads, snapshot
from vertebra.audit.verify import Finding, Report, Stored, verify
from vertebra.schemas.audit import Head
from vertebra.schemas.ids import RunId, Tenant
from vertebra.store.pool import Connection

_BODY = ',"body":'
"""It cannot occur inside the strings before it: quotes are escaped there."""


async def export_tenant(connection: Connection, tenant: Tenant) -> AsyncIterator[str]:
    """The lines of everything a tenant has, without line ends."""
    async with snapshot(connection):
        for head in (await heads(connection, tenant)).values():
            yield head_line(head)
        async for page in all_entries(connection, tenant):
            for row in page:
                yield entry_line(row)


async def export_run(connection: Connection, run: RunId) -> AsyncIterator[str]:
    """The lines of one run's stream; none if there is no such run."""
    async with snapshot(connection):
        if (head := await head_of(connection, run)) is not None:
            yield head_line(head)
        async for page in entries_of(connection, run):
            for row in page:
                yield entry_line(row)


def entry_line(row: Stored) -> str:
    """One entry as a line. A body that cannot have been sealed is written so that it fails."""
    front = {
        "stream": row.stream,
        "seq": row.seq,
        "prev_hash": row.prev_hash.hex(),
        "hash": row.hash.hex(),
        "mac": row.mac.hex(),
        "key_id": row.key_id,
    }
    text = row.body.decode("utf-8", "replace").replace("\n", "\\n")
    return f"{json.dumps(front, separators=(',', ':'))[:-1]}{_BODY}{text}}}"


def head_line(head: Head) -> str:
    """The end of a stream as a line."""
    return json.dumps({"head": head.stream, "seq": head.seq, "hash": head.hash.hex()}, separators=(",", ":"))


def verify_file(
    path: Path, keys: Mapping[str, MacKey] | None = None, remembered: Mapping[str, Head] | None = None
) -> Report:
    """Verify an export. Raises OSError where the file cannot be read; everything else is a finding."""
    with path.open("rb") as file:
        return verify_lines(file, keys, remembered)


def verify_lines(
    lines: Iterable[bytes], keys: Mapping[str, MacKey] | None = None, remembered: Mapping[str, Head] | None = None
) -> Report:
    """Verify the lines of an export, whatever they are."""
    ends: dict[str, Head] = {}
    unreadable: list[Finding] = []
    report = verify(_read(lines, ends, unreadable), ends, keys, remembered)
    return Report(report.streams, report.entries, (*unreadable, *report.findings), report.macs_checked, report.heads)


def _read(lines: Iterable[bytes], ends: dict[str, Head], unreadable: list[Finding]) -> Iterator[Stored]:
    """The entries of an export as they come; heads, which stand before them, are put aside."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _parsed(line.decode())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            unreadable.append(Finding("(file)", number, "the line is neither an entry nor a head"))
            continue
        if isinstance(found, Head):
            ends[found.stream] = found
        else:
            yield found


def _parsed(line: str) -> Stored | Head:
    front, found, rest = line.rstrip("\r\n").partition(_BODY)
    if not found:
        head = json.loads(front)
        return Head(stream=str(head["head"]), seq=int(head["seq"]), hash=bytes.fromhex(head["hash"]))
    if not rest.endswith("}"):
        raise ValueError("the line is cut off")
    entry = json.loads(front + "}")
    prev, digest = bytes.fromhex(entry["prev_hash"]), bytes.fromhex(entry["hash"])
    mac = bytes.fromhex(entry["mac"])
    return Stored(str(entry["stream"]), int(entry["seq"]), rest[:-1].encode(), prev, digest, mac, str(entry["key_id"]))
