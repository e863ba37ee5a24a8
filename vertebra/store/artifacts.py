"""Values by their SHA-256: up to 1 MB in Postgres, larger ones as files. Written once, checked when read."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.errors import NotFound, SettingsError, StoreError, TamperedRow
from vertebra.store.pool import Links
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, once

IN_POSTGRES_BYTES = 1_000_000
MARKER = "vertebra-artifacts"
"""The file that says that a folder is the artifact store of this database, and not an empty mount point."""


def ref_of(data: bytes, media_type: str = "application/json") -> ArtifactRef:
    """How a value is named wherever it is not inline."""
    sha256 = hashlib.sha256(data).hexdigest()
    return ArtifactRef(uri=f"artifact:{sha256}", sha256=sha256, size=len(data), media_type=media_type)


def ref_in(row: Row) -> ArtifactRef:
    """How the value of a row of `get_query` is named."""
    uri = f"artifact:{row['sha256']}"
    return ArtifactRef(uri=uri, sha256=row["sha256"], size=row["size"], media_type=row["media_type"])


def put_query(tenant: str, data: bytes, media_type: str = "application/json") -> Query:
    """Store a value of at most 1 MB inside somebody's transaction. Raises StoreError where it is larger."""
    if len(data) > IN_POSTGRES_BYTES:
        raise StoreError(
            f"a value of {len(data)} bytes is too large for Postgres, which takes {IN_POSTGRES_BYTES}",
            do="store it with Artifacts.put, which has a folder for such values",
        )
    return _put(tenant, ref_of(data, media_type), data, None)


def get_query(tenant: str, sha256: str) -> Query:
    """The row of a value; `Artifacts.read` or `value_of` checks it."""
    return Query("get_artifact", named("values", "get_artifact"), {"tenant": tenant, "sha256": sha256})


def value_of(row: Row) -> bytes:
    """The value of a row that holds it inline. Raises TamperedRow, and StoreError for a value that lies elsewhere."""
    if row["bytes"] is None:
        raise StoreError(f"the value {row['sha256']} is not in Postgres but in {row['place']!r}")
    return _checked(bytes(row["bytes"]), row["sha256"], "the row")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder for large values, one file each, named by its hash. Get one from `open_folder`."""

    path: Path

    def write(self, sha256: str, data: bytes) -> str:
        """Create the file, or leave the one that is there; durable when this returns. Gives the place.

        Raises StoreError where the disk is full or out of order: then nothing of it is left.
        """
        target = self._file(sha256)
        try:
            if not target.exists():
                _create(target, data)
        except OSError as error:
            raise StoreError(
                f"a value of {len(data)} bytes could not be written: {error.strerror}",
                at=self.path,
                do="make room there; it is tried again",
            ) from error
        return f"file:{sha256}"

    def read(self, sha256: str) -> bytes:
        """The file's bytes, checked. Raises NotFound, TamperedRow."""
        try:
            data = self._file(sha256).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"the value {sha256} is not in {self.path}", do="restore the folder's backup") from None
        return _checked(data, sha256, str(self._file(sha256)))

    def _file(self, sha256: str) -> Path:
        return self.path / sha256[:2] / sha256


def open_folder(path: Path, *, create: bool = False) -> Folder:
    """The artifact folder at `path`. Raises SettingsError where it does not carry the marker."""
    marker = path / MARKER
    if create and not marker.exists():
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            marker.write_text("values of vertebra by SHA-256; do not edit\n", encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"{str(path)!r} cannot be made an artifact folder: {error.strerror}",
                do="make room there, or set VERTEBRA_ARTIFACTS to another folder",
            ) from None
    if not marker.is_file():
        raise SettingsError(
            f"{str(path)!r} is not an artifact folder: it has no file {MARKER!r}", do="mount the right one"
        )
    return Folder(path)


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Values of any size of one database. Without a folder, large ones are refused."""

    pool: Links
    folder: Folder | None = None

    async def put(self, tenant: str, data: bytes, media_type: str = "application/json") -> ArtifactRef:
        """Store a value, durable when this returns; the same value again is the same reference. Raises StoreError."""
        ref = ref_of(data, media_type)
        if len(data) <= IN_POSTGRES_BYTES:
            await once(self.pool, [_put(tenant, ref, data, None)])
            return ref
        if self.folder is None:
            raise StoreError(
                f"a value of {len(data)} bytes needs an artifact folder, and none is set",
                do="set VERTEBRA_ARTIFACTS to a folder",
            )
        place = await asyncio.to_thread(self.folder.write, ref.sha256, data)
        await once(self.pool, [_put(tenant, ref, None, place)])
        return ref

    async def get(self, tenant: str, sha256: str) -> bytes:
        """The value, checked against its name. Raises NotFound, TamperedRow, StoreError."""
        rows = (await once(self.pool, [get_query(tenant, sha256)]))[0]
        if not rows:
            raise NotFound(f"no value {sha256} is stored")
        return await self.read(rows[0])

    async def read(self, row: Row) -> bytes:
        """The value of a row that `get_query` gave, wherever it lies."""
        if row["bytes"] is not None:
            return value_of(row)
        if self.folder is None:
            raise StoreError(f"the value {row['sha256']} lies in an artifact folder, and none is set")
        return await asyncio.to_thread(self.folder.read, row["sha256"])


def _put(tenant: str, ref: ArtifactRef, data: bytes | None, place: str | None) -> Query:
    params = {
        "tenant": tenant,
        "sha256": ref.sha256,
        "size": ref.size,
        "media_type": ref.media_type,
        "bytes": data,
        "place": place,
    }
    return Query("put_artifact", named("values", "put_artifact"), params)


def _checked(data: bytes, sha256: str, where: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise TamperedRow(f"the value {sha256} was changed: its bytes have the hash {found}", at=where)
    return data


def _create(target: Path, data: bytes) -> None:
    """The whole file at once: nobody ever sees half of it."""
    target.parent.mkdir(mode=0o700, exist_ok=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        _write_durably(draft, data)
        os.link(draft, target)
    except FileExistsError:
        pass  # another writer was faster, with the same bytes
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _write_durably(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
