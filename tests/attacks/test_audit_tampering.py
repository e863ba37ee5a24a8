"""An administrator with every right on the database edits the audit; the verifier names each edit.

The key is outside the database. One edit, cutting a stream together with its head, can only be shown by heads that the
verifier remembers, and the test gives it those for that edit alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.stores import KEYS, Migrated, append, entry, new_run
from vertebra.audit.read import verify_run
from vertebra.audit.verify import Report
from vertebra.schemas.audit import Head
from vertebra.schemas.ids import RunId
from vertebra.store.pool import Pool, connect

pytestmark = [pytest.mark.attack, pytest.mark.server]

Admin = psycopg.AsyncConnection[TupleRow]
ENTRIES = 8


async def bodies(admin: Admin, run: RunId) -> list[bytes]:
    cursor = await admin.execute("select body from audit where stream = %s order by seq", (run,))
    return [row[0] for row in await cursor.fetchall()]


async def rebuild(admin: Admin, run: RunId, texts: list[bytes]) -> None:
    """Write a whole chain anew with correct hashes, head included; the MACs are what cannot be made."""
    prev = hashlib.sha256(f"vertebra/1/{run}".encode()).digest()
    await admin.execute("delete from audit where stream = %s and seq > %s", (run, len(texts)))
    for seq, text in enumerate(texts, 1):
        body = json.loads(text)
        body.update(seq=seq, prev_hash=prev.hex(), stream=run)
        data = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        digest = hashlib.sha256(data).digest()
        await admin.execute(
            "insert into audit (stream, seq, body, prev_hash, hash, mac, key_id)"
            " select %(run)s, %(seq)s, %(body)s, %(prev)s, %(hash)s, mac, key_id from audit"
            " where stream = %(run)s and seq = 1"
            " on conflict (stream, seq) do update"
            " set body = excluded.body, prev_hash = excluded.prev_hash, hash = excluded.hash",
            {"run": run, "seq": seq, "body": data, "prev": prev, "hash": digest},
        )
        prev = digest
    await admin.execute("update runs set audit_seq = %s, audit_hash = %s where id = %s", (len(texts), prev, run))


async def change_a_word(admin: Admin, run: RunId) -> None:
    """One word of one body."""
    await admin.execute(
        "update audit set body = convert_to(replace(convert_from(body, 'UTF8'), 'entry 3', 'entry X'), 'UTF8')"
        " where stream = %s and seq = 3",
        (run,),
    )


async def change_a_word_and_its_hash(admin: Admin, run: RunId) -> None:
    """A body and its own hash, nothing after it."""
    await change_a_word(admin, run)
    await admin.execute("update audit set hash = sha256(body) where stream = %s and seq = 3", (run,))


async def rebuild_everything_after(admin: Admin, run: RunId) -> None:
    """A body, all hashes after it, and the head: a chain that a stranger would believe."""
    texts = await bodies(admin, run)
    await rebuild(admin, run, [text.replace(b"entry 3", b"entry X") for text in texts])


async def delete_one(admin: Admin, run: RunId) -> None:
    """An entry in the middle."""
    await admin.execute("delete from audit where stream = %s and seq = 4", (run,))


async def delete_one_and_renumber(admin: Admin, run: RunId) -> None:
    """An entry in the middle, with those after it moved up and all hashes made anew."""
    texts = await bodies(admin, run)
    await rebuild(admin, run, texts[:3] + texts[4:])


async def cut_the_end(admin: Admin, run: RunId) -> None:
    """The last two entries."""
    await admin.execute("delete from audit where stream = %s and seq > %s", (run, ENTRIES - 2))


async def cut_the_end_and_the_head(admin: Admin, run: RunId) -> None:
    """The last two entries, with the head set back: an old state, perfectly sealed."""
    await cut_the_end(admin, run)
    await admin.execute(
        "update runs set (audit_seq, audit_hash)"
        " = (select seq, hash from audit where stream = id order by seq desc limit 1)"
        " where id = %s",
        (run,),
    )


async def insert_one(admin: Admin, run: RunId) -> None:
    """A forged entry in the middle, all hashes made anew."""
    texts = await bodies(admin, run)
    await rebuild(admin, run, [*texts[:3], texts[3].replace(b"svc", b"ada"), *texts[3:]])


async def append_one(admin: Admin, run: RunId) -> None:
    """A forged entry at the end, the head moved on."""
    texts = await bodies(admin, run)
    await rebuild(admin, run, [*texts, texts[-1].replace(b"svc", b"ada")])


async def swap_two(admin: Admin, run: RunId) -> None:
    """Two neighbours change places, each with its own hash and MAC."""
    await admin.execute("update audit set seq = -seq where stream = %s and seq in (4, 5)", (run,))
    await admin.execute("update audit set seq = 9 + seq where stream = %s and seq < 0", (run,))


async def delete_the_stream(admin: Admin, run: RunId) -> None:
    """Every entry of a run that is still there."""
    await admin.execute("delete from audit where stream = %s", (run,))


async def seal_with_a_key_of_ones_own(admin: Admin, run: RunId) -> None:
    """A changed entry under the administrator's own key, which the row names."""
    await rebuild_everything_after(admin, run)
    await admin.execute("update audit set key_id = 'feedfacefeedface' where stream = %s and seq >= 3", (run,))


Edit = Callable[[Admin, RunId], Awaitable[None]]
EDITS: tuple[Edit, ...] = (
    change_a_word,
    change_a_word_and_its_hash,
    rebuild_everything_after,
    delete_one,
    delete_one_and_renumber,
    cut_the_end,
    cut_the_end_and_the_head,
    insert_one,
    append_one,
    swap_two,
    delete_the_stream,
    seal_with_a_key_of_ones_own,
)


async def filled(gate: Pool) -> RunId:
    run = await new_run(gate)
    await append(gate, run, [entry(f"entry {number}") for number in range(1, ENTRIES + 1)])
    return run


async def check(migrated: Migrated, run: RunId, remembered: dict[str, Head] | None = None) -> Report:
    async with await connect(migrated.dsn("vertebra_reader")) as reader:
        return await verify_run(reader, run, KEYS, remembered)


async def test_each_of_twelve_edits_is_detected(gate: Pool, migrated: Migrated) -> None:
    """Detected equals tried: each edit gives findings that name the edited stream."""
    tried, detected = 0, []
    for edit in EDITS:
        run = await filled(gate)
        before = await check(migrated, run)
        assert before.ok
        async with await migrated.superuser() as admin:
            await edit(admin, run)
        tried += 1
        after = await check(migrated, run, dict(before.heads) if edit is cut_the_end_and_the_head else None)
        if after.findings and {run} == {finding.stream for finding in after.findings}:
            detected.append(edit.__name__)

    assert (12, [edit.__name__ for edit in EDITS]) == (tried, detected)


@pytest.mark.parametrize(
    ("edit", "seq"),
    [
        (change_a_word, 3),
        (change_a_word_and_its_hash, 3),
        (rebuild_everything_after, 3),
        (delete_one, 4),
        (cut_the_end, 7),
    ],
)
async def test_the_finding_names_the_entry(gate: Pool, migrated: Migrated, edit: Edit, seq: int) -> None:
    """The first finding stands at the very entry that was edited."""
    run = await filled(gate)
    async with await migrated.superuser() as admin:
        await edit(admin, run)

    first = (await check(migrated, run)).findings[0]
    assert (run, seq) == (first.stream, first.seq)


async def test_the_edits_that_need_a_secret_pass_without_it(gate: Pool, migrated: Migrated) -> None:
    """The test can fail: without MACs, or without memory, the same edits are not found."""
    unseen = []
    for edit in (rebuild_everything_after, insert_one, append_one, delete_one_and_renumber, cut_the_end_and_the_head):
        run = await filled(gate)
        async with await migrated.superuser() as admin:
            await edit(admin, run)
        async with await connect(migrated.dsn("vertebra_reader")) as reader:
            unseen.append((await verify_run(reader, run)).ok)

    assert [True] * 5 == unseen


async def test_the_gate_itself_cannot_edit(gate: Pool, migrated: Migrated) -> None:
    """With the rights of a worker every one of the edits is refused by the database."""
    refused = 0
    for edit in EDITS:
        run = await filled(gate)
        async with await connect(migrated.dsn("vertebra_gate")) as worker:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await edit(worker, run)
        refused += 1
        assert (await check(migrated, run)).ok

    assert len(EDITS) == refused
