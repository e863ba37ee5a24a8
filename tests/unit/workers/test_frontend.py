"""What stands in the settings about Temporal becomes a way to it, or an error that says which file or key is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.certificates import Authority
from vertebra.schemas.errors import SettingsError
from vertebra.settings import Settings
from vertebra.workers.frontend import address_of, secured

CANARY = "tc-canary-0123456789"
KEY = "secret://env/CLOUD_KEY"


@pytest.fixture
def made(tmp_path: Path) -> Settings:
    """Settings with every file in its place."""
    authority = Authority(tmp_path, "authority")
    client = authority.signs("client")
    return Settings(
        project=tmp_path,
        temporal_tls=True,
        temporal_tls_ca=authority.cert,
        temporal_tls_cert=client.cert,
        temporal_tls_key=client.key,
        temporal_tls_server_name="temporal.test",
        temporal_api_key=KEY,
    )


def test_a_line_without_tls_is_said_to_be_one(tmp_path: Path) -> None:
    """By default nothing is encrypted, and nothing is shown to the server."""
    settings = Settings(project=tmp_path)

    address = address_of(settings)

    assert (None, None) == (address.tls, address.api_key)
    assert "no TLS" in secured(settings)


def test_files_and_key_are_found(made: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file and the name go to the client, the key too; no text of the address or of the check holds the key."""
    monkeypatch.setenv("CLOUD_KEY", CANARY)

    address = address_of(made)

    assert address.tls is not None
    assert not address.tls.disabled
    assert (made.temporal_tls_ca, made.temporal_tls_cert, made.temporal_tls_key, "temporal.test") == (
        *(address.tls.server_root_ca_cert, address.tls.client_cert, address.tls.client_private_key),
        address.tls.server_name,
    )
    assert CANARY == address.api_key
    assert KEY in secured(made)
    assert CANARY not in f"{address!r}{made!r}{secured(made)}"


def _no_file(setting: str) -> Callable[[Settings], None]:
    return lambda settings: Path(getattr(settings, setting)).unlink()


def _junk(setting: str) -> Callable[[Settings], None]:
    def breaks(settings: Settings) -> None:
        Path(getattr(settings, setting)).write_text("junk")

    return breaks


def _of_another(settings: Settings) -> None:
    assert settings.temporal_tls_key
    Authority(settings.project, "other").signs("another").key.rename(settings.temporal_tls_key)


def _locked(settings: Settings) -> None:
    assert settings.temporal_tls_key
    key = serialization.load_pem_private_key(settings.temporal_tls_key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x"))
    settings.temporal_tls_key.write_bytes(key.private_bytes(*form))


def _ended(settings: Settings) -> None:
    Authority(settings.project, "authority").signs("client", ends=-timedelta(hours=1))


@pytest.mark.parametrize(
    ("breaks", "at", "said"),
    [
        (_no_file("temporal_tls_ca"), "TLS_CA", "authority.pem cannot be read: No such file"),
        (_no_file("temporal_tls_cert"), "TLS_CERT", "client.pem cannot be read: No such file"),
        (_no_file("temporal_tls_key"), "TLS_KEY", "client.key cannot be read: No such file"),
        (_junk("temporal_tls_ca"), "TLS_CA", "authority.pem holds no certificate"),
        (_junk("temporal_tls_cert"), "TLS_CERT", "client.pem holds no certificate"),
        (_junk("temporal_tls_key"), "TLS_KEY", "client.key holds no private key"),
        (_of_another, "TLS_KEY", "is not that of the certificate"),
        (_locked, "TLS_KEY", "has a password"),
        (_ended, "TLS_CERT", "the client certificate ended on"),
    ],
)
def test_a_file_that_is_no_use_is_named(
    made: Settings, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[Settings], None], at: str, said: str
) -> None:
    """A file that is missing, junk, of another key or too old is told with its variable before anybody is asked."""
    monkeypatch.setenv("CLOUD_KEY", CANARY)
    breaks(made)

    with pytest.raises(SettingsError, match=said) as refused:
        address_of(made)

    assert f"VERTEBRA_TEMPORAL_{at}" == refused.value.at


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "nothing behind secret://env/CLOUD_KEY"),
        ("", "nothing behind"),
        (f"{CANARY}\nx-other: {CANARY}", "is no API key"),
        (f"{CANARY} {CANARY}", "is no API key"),
        (f"{CANARY}ü", "is no API key"),
    ],
)
def test_a_key_that_is_none_is_not_quoted(
    made: Settings, monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    """A key that is not there, or could not be a header, is told by its name alone."""
    if value is not None:
        monkeypatch.setenv("CLOUD_KEY", value)

    with pytest.raises(SettingsError, match=said) as refused:
        address_of(made)

    assert "VERTEBRA_TEMPORAL_API_KEY" == refused.value.at
    assert CANARY not in str(refused.value)
