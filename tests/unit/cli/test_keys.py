from __future__ import annotations

import stat
from pathlib import Path

import pytest

from vertebra.cli import keys
from vertebra.schemas.authored import AuthoredPerson
from vertebra.schemas.errors import SettingsError

PEOPLE = (
    AuthoredPerson(name="ada", roles=("support_lead",)),
    AuthoredPerson(name="svc", roles=("starter",), service=True),
)


def test_keys_are_private_and_made_once(tmp_path: Path) -> None:
    """The folder is 0700, every file 0600, and a second start changes none."""
    folder = tmp_path / "keys"
    keys.make_keys(folder)
    first = keys.enrolments(folder, PEOPLE, "me"), keys.database_passwords(folder)
    keys.make_keys(folder)

    assert first == (keys.enrolments(folder, PEOPLE, "me"), keys.database_passwords(folder))
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


def test_the_systems_user_is_admin_besides_the_roles_written_there(tmp_path: Path) -> None:
    """Services get no key; who runs the laptop keeps the roles of people.yaml."""
    found = {one.name: one for one in keys.enrolments(tmp_path, PEOPLE, "ada")}

    assert {"admin", "support_lead"} == set(found["ada"].roles)
    assert (None, True) == (found["svc"].public_key, found["svc"].service)


def test_each_role_has_a_login_of_its_own(tmp_path: Path) -> None:
    """The superuser's password is in none of them."""
    passwords = keys.database_passwords(tmp_path)

    found = keys.role_dsns("postgresql://postgres:super@127.0.0.1:5/vertebra", passwords)

    assert set(passwords) == set(found)
    assert all(dsn.endswith("@127.0.0.1:5/vertebra") and "super" not in dsn for dsn in found.values())
    assert len(passwords) == len(set(found.values()))


def test_a_damaged_password_file_is_named(tmp_path: Path) -> None:
    """It is neither overwritten nor guessed."""
    (tmp_path / "database.json").write_text("{}")

    with pytest.raises(SettingsError, match=r"database\.json"):
        keys.database_passwords(tmp_path)
