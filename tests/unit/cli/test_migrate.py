"""Where `vertebra migrate --logins` takes the passwords of the database's roles from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.cli.migrate import passwords
from vertebra.schemas.errors import SettingsError
from vertebra.settings import Settings, load


def settings(tmp_path: Path, **dsns: str) -> Settings:
    (tmp_path / "vertebra.toml").touch()
    return load(tmp_path, {f"VERTEBRA_{name.upper()}": dsn for name, dsn in dsns.items()}).settings


def test_each_role_logs_in_as_its_dsn_says(tmp_path: Path) -> None:
    """The passwords of the DSNs that are set; the owner's is what migrates, and stays as it is."""
    given = settings(
        tmp_path,
        database_url="postgresql://vertebra_owner:first@db/vertebra",
        gate_dsn="postgresql://vertebra_gate:a%40b@db/vertebra",
        api_dsn="host=db user=vertebra_api password=plain",
    )

    assert {"vertebra_gate": "a@b", "vertebra_api": "plain"} == passwords(given)


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://postgres:x@db/vertebra", r"VERTEBRA_GATE_DSN: this logs in as 'postgres', with a password"),
        ("postgresql://vertebra_gate@db/vertebra", r"as 'vertebra_gate', without a password; write postgresql://verte"),
        ("postgresql//nonsense", r"VERTEBRA_GATE_DSN: no address of Postgres like"),
    ],
)
def test_a_dsn_of_somebody_else_is_refused(tmp_path: Path, dsn: str, said: str) -> None:
    """No role gets the password of another login, and none an empty one; the error names the variable, no secret."""
    with pytest.raises(SettingsError, match=said) as caught:
        passwords(settings(tmp_path, gate_dsn=dsn))

    assert ":x@" not in str(caught.value)


def test_without_any_dsn_there_is_nothing_to_do(tmp_path: Path) -> None:
    """Asked for logins and given none, the command says which variable to set."""
    with pytest.raises(SettingsError, match="VERTEBRA_GATE_DSN"):
        passwords(settings(tmp_path, database_url="postgresql://postgres:x@db/vertebra"))
