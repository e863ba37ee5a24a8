"""Artifacts and texts on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores import Migrated
from vertebra.schemas.canonical import Digest, digest_of
from vertebra.schemas.errors import NotFound, StoreError, TamperedRow
from vertebra.store.artifacts import IN_POSTGRES_BYTES, Artifacts, open_folder, ref_of
from vertebra.store.pool import Pool, new_pool
from vertebra.store.texts import get_texts_query, put_text_query, texts_of
from vertebra.store.transaction import once

pytestmark = pytest.mark.server

SMALL, LARGE = b"small", b"x" * (IN_POSTGRES_BYTES + 1)


async def test_a_value_comes_back_by_its_hash(gate: Pool, tmp_path: Path) -> None:
    """Small ones from Postgres, large ones from the folder; the same value twice is one."""
    store = Artifacts(gate, open_folder(tmp_path, create=True))
    for data in (SMALL, LARGE, b""):
        first, second = await store.put("default", data), await store.put("default", data)

        assert first == second == ref_of(data)
        assert data == await store.get("default", first.sha256)


async def test_a_large_value_needs_a_folder(gate: Pool) -> None:
    """Without one it is refused with the setting to set."""
    with pytest.raises(StoreError, match="VERTEBRA_ARTIFACTS"):
        await Artifacts(gate).put("default", LARGE + b"y")


async def test_a_changed_value_is_noticed(gate: Pool, migrated: Migrated) -> None:
    """A row whose bytes do not have the hash that names them is never given out."""
    store = Artifacts(gate)
    ref = await store.put("default", b"before")
    async with await migrated.superuser() as superuser:
        await superuser.execute("update artifacts set bytes = 'after' where sha256 = %s", (ref.sha256,))

    with pytest.raises(TamperedRow, match=ref.sha256):
        await store.get("default", ref.sha256)


async def test_a_tenant_has_its_own_values(gate: Pool) -> None:
    """What one tenant stored, another does not find."""
    store = Artifacts(gate)
    ref = await store.put("one", b"secret of one")

    with pytest.raises(NotFound):
        await store.get("two", ref.sha256)


async def test_texts_come_back_by_digest(migrated: Migrated) -> None:
    """A pinned text is found, a missing or changed one is named."""
    async with new_pool(migrated.dsn("vertebra_api"), max_size=1) as api:
        await once(api, [put_text_query("default", "prompt", b"hello")] * 2)
        wanted = [digest_of(b"hello")]

        rows = (await once(api, [get_texts_query("default", wanted)]))[0]

    assert {wanted[0]: b"hello"} == texts_of(rows, wanted)
    with pytest.raises(NotFound, match="sha256:0"):
        texts_of(rows, [Digest("sha256:0")])
    with pytest.raises(TamperedRow):
        texts_of([{**rows[0], "bytes": b"hullo"}], wanted)
