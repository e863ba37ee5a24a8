"""Keys from a folder that only their owner may read: 32 bytes each, as 64 hex digits in a file of mode 0600.

`audit.key` seals new entries; `audit-<name>.key` are older ones, kept so that their entries still verify. `seal.key`
seals contexts; `people/<name>.key` are Ed25519 keys with which people sign.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vertebra.audit.chain import MacKey, mac_key
from vertebra.policies.seal import SealKey, seal_key
from vertebra.policies.signature import SigningKey
from vertebra.schemas.errors import SettingsError

KEY_BYTES = 32
_PERSON = re.compile(r"[A-Za-z0-9._@-]{1,100}")


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """The key that seals, and every key that may have sealed, by name."""

    current: MacKey
    known: Mapping[str, MacKey]


def audit_keys(folder: Path, *, create: bool = False) -> AuditKeys:
    """The audit keys of a folder. Raises SettingsError."""
    current = mac_key(secret_of(folder / "audit.key", create=create))
    older = [mac_key(secret_of(path)) for path in sorted(folder.glob("audit-*.key"))]
    return AuditKeys(current, {key.id: key for key in (current, *older)})


def context_key(folder: Path, *, create: bool = False) -> SealKey:
    """The key of the contexts' seals. Raises SettingsError."""
    return seal_key(secret_of(folder / "seal.key", create=create))


def person_key(folder: Path, name: str, *, create: bool = False) -> SigningKey:
    """The key with which a person signs on this machine. Raises SettingsError."""
    if not _PERSON.fullmatch(name) or name.startswith("."):
        raise SettingsError(f"{name!r} cannot be the name of a key", do="use letters, digits, '.', '_', '@', '-'")
    if create:
        # a parent that is made on the way has the rights that the umask leaves to others
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SigningKey(secret_of(folder / "people" / f"{name}.key", create=create))


def secret_of(path: Path, *, create: bool = False) -> bytes:
    """The 32 bytes of a key file that nobody else can read. Raises SettingsError, naming file and remedy."""
    if create:
        _create(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(2 * KEY_BYTES + 2)
    except FileNotFoundError:
        raise SettingsError("there is no such key", at=path, do="vertebra dev makes the keys of a project") from None
    except OSError as error:
        raise SettingsError(f"the key cannot be read: {error.strerror}", at=path) from None
    _check_rights(path, status)
    _check_folder(path.parent)
    return _parsed(path, text)


def _create(path: Path) -> None:
    """Make a new key where there is none; two at once make one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if not path.exists():
            # a link never replaces: whoever comes second keeps the first one's key
            os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)


def _check_rights(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SettingsError("a key is an ordinary file", at=path)
    if status.st_uid not in (os.geteuid(), 0):
        raise SettingsError("the key belongs to another user", at=path, do=f"chown it: chown {os.geteuid()} {path}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SettingsError("others may read or write this key", at=path, do=f"chmod 600 {path}, and make a new key")


def _check_folder(folder: Path) -> None:
    """Who may write to the folder could put another of its owner's keys in this one's place."""
    mode = folder.stat().st_mode
    if stat.S_IMODE(mode) & 0o022 and not mode & stat.S_ISVTX:
        raise SettingsError("others may write to this folder of keys", at=folder, do=f"chmod 700 {folder}")


def _parsed(path: Path, text: bytes) -> bytes:
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingsError(f"a key is {2 * KEY_BYTES} hex digits, and this file holds something else", at=path)
    return secret
