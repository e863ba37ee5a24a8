"""The names of secrets, and what is behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.boundary.secret_store import environment_secret
from vertebra.schemas.errors import SettingsError

CANARY = "sk-canary-0123"


def test_a_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`secret://env/NAME` is the variable at the time of asking; None where it is not set."""
    monkeypatch.setenv("SOME_KEY", "one")
    first = environment_secret("secret://env/SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "two")

    assert ("one", "two") == (first, environment_secret("secret://env/SOME_KEY"))
    assert environment_secret("secret://env/NO_SUCH_KEY") is None


def test_a_secret_of_a_file(tmp_path: Path) -> None:
    """`secret://file/PATH` is the file's text without the line's end; None where there is no file."""
    (tmp_path / "key").write_text(f"{CANARY}\n")

    assert CANARY == environment_secret(f"secret://file{tmp_path}/key")
    assert environment_secret(f"secret://file{tmp_path}/none") is None


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """A folder or a file of bytes is an error that names the path, and nothing that stands in it."""
    (tmp_path / "bytes").write_bytes(CANARY.encode() + b"\xff")

    for name in ("", "/bytes"):
        with pytest.raises(SettingsError, match="cannot be read") as refused:
            environment_secret(f"secret://file{tmp_path}{name}")
        assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    "name", [CANARY, f"secret://{CANARY}", "env/SOME_KEY", "secret://env/", "secret://vault/x", ""]
)
def test_a_key_in_place_of_its_name_is_not_quoted(name: str) -> None:
    """What names no store is refused without being repeated: it may be the key itself."""
    with pytest.raises(SettingsError, match="names no store") as refused:
        environment_secret(name)

    assert CANARY not in str(refused.value)
