"""Key files: made once, readable by their owner only."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vertebra.audit.keys import audit_keys, context_key, person_key, secret_of
from vertebra.schemas.errors import SettingsError


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """Eight at once make one key of mode 0600, and leave nothing else behind."""
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: secret_of(tmp_path / "keys" / "audit.key", create=True), range(8)))

    assert 1 == len(set(made))
    assert ["audit.key"] == os.listdir(tmp_path / "keys")
    assert 0o600 == (tmp_path / "keys" / "audit.key").stat().st_mode & 0o777
    assert 0o700 == (tmp_path / "keys").stat().st_mode & 0o777


def test_old_audit_keys_stay_known(tmp_path: Path) -> None:
    """After a rotation the old key still verifies its entries."""
    old = audit_keys(tmp_path, create=True).current
    (tmp_path / "audit.key").rename(tmp_path / "audit-2026.key")

    keys = audit_keys(tmp_path, create=True)

    assert old.id != keys.current.id
    assert {old.id, keys.current.id} == set(keys.known)


def test_each_kind_of_key_has_its_file(tmp_path: Path) -> None:
    """Seal and people keys stand beside the audit key."""
    seal = context_key(tmp_path, create=True)
    ada = person_key(tmp_path, "ada", create=True)

    assert seal == context_key(tmp_path)
    assert ada == person_key(tmp_path, "ada")
    assert (tmp_path / "people" / "ada.key").exists()


def test_folders_of_keys_are_their_owners_alone(tmp_path: Path) -> None:
    """Also where a person's key is the first, and the user's umask leaves the group all rights."""
    usual = os.umask(0o002)
    try:
        person_key(tmp_path / "new" / "keys", "ada", create=True)
    finally:
        os.umask(usual)

    assert 0o700 == (tmp_path / "new" / "keys").stat().st_mode & 0o777
    assert 0o700 == (tmp_path / "new" / "keys" / "people").stat().st_mode & 0o777


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o777])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """The refusal names the file and the remedy."""
    path = tmp_path / "audit.key"
    secret_of(path, create=True)
    path.chmod(mode)

    with pytest.raises(SettingsError, match="chmod 600"):
        secret_of(path)


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o770, True), (0o1777, False), (0o755, False)])
def test_a_folder_in_which_others_may_put_keys_is_refused(tmp_path: Path, mode: int, refused: bool) -> None:
    """Unless it is sticky, as those are that Kubernetes mounts: there only the owner replaces a file."""
    folder = tmp_path / "keys"
    secret = secret_of(folder / "audit.key", create=True)
    folder.chmod(mode)

    if refused:
        with pytest.raises(SettingsError, match=f"chmod 700 {folder}"):
            secret_of(folder / "audit.key")
    else:
        assert secret == secret_of(folder / "audit.key")


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33, "\u00e9" * 64])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    """Anything but 64 hex digits says so, without showing it."""
    path = tmp_path / "audit.key"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(SettingsError, match="64 hex digits") as refused:
        secret_of(path)
    assert text == "" or text not in str(refused.value).replace(str(path), "")


def test_a_missing_key_says_who_makes_it(tmp_path: Path) -> None:
    """No key appears by merely reading."""
    with pytest.raises(SettingsError, match="vertebra dev"):
        audit_keys(tmp_path)
    with pytest.raises(SettingsError, match=r"ordinary file|cannot be read"):
        secret_of(tmp_path)


@pytest.mark.parametrize("name", ["", "../audit", "a/b", ".hidden", "a" * 101, "a\n"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    """A person's name is part of a path only if it is harmless."""
    with pytest.raises(SettingsError, match="cannot be the name"):
        person_key(tmp_path, name, create=True)
