"""The way to Temporal's frontend, from settings: files of certificates looked at, the API key behind its name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates
from temporalio.envconfig import ClientConfigTLS

from vertebra.boundary.secret_store import environment_secret
from vertebra.client.connection import Address
from vertebra.schemas.errors import SettingsError
from vertebra.settings import Settings, variable

_RAW = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def address_of(settings: Settings) -> Address:
    """Where Temporal is and how to get in. Raises SettingsError, naming the variable and the file."""
    return Address(
        settings.temporal_address,
        settings.temporal_namespace,
        _tls(settings) if settings.temporal_tls else None,
        None if settings.temporal_api_key is None else _api_key(settings.temporal_api_key),
    )


def secured(settings: Settings) -> str:
    """How the line to Temporal is secured, in words. Raises SettingsError as `address_of`."""
    address_of(settings)
    if not settings.temporal_tls:
        return "no TLS: right on one machine only"
    ca = settings.temporal_tls_ca
    words = [f"TLS, with authorities of {ca or 'the system'}"]
    if settings.temporal_tls_cert is not None:
        ends = _certificates("temporal_tls_cert", settings.temporal_tls_cert)[0].not_valid_after_utc
        words.append(f"client certificate until {ends:%Y-%m-%d}")
    if settings.temporal_api_key is not None:
        words.append(f"API key of {settings.temporal_api_key}")
    return "; ".join(words)


def _tls(settings: Settings) -> ClientConfigTLS:
    ca, cert, key = settings.temporal_tls_ca, settings.temporal_tls_cert, settings.temporal_tls_key
    if ca is not None:
        _certificates("temporal_tls_ca", ca)  # the client takes anything, and then trusts nobody
    if cert is not None and key is not None:
        _check_pair(_certificates("temporal_tls_cert", cert)[0], key)
    return ClientConfigTLS(
        disabled=False,
        server_name=settings.temporal_tls_server_name,
        server_root_ca_cert=ca,
        client_cert=cert,
        client_private_key=key,
    )


def _certificates(setting: str, path: Path) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(_read(setting, path))
    except (ValueError, UnsupportedAlgorithm):
        do = "it begins with -----BEGIN CERTIFICATE-----"
        raise SettingsError(f"{path} holds no certificate in PEM", at=variable(setting), do=do) from None


def _check_pair(certificate: Certificate, path: Path) -> None:
    """Raise SettingsError unless the certificate is this key's, and has not expired."""
    name = "temporal_tls_key"
    try:
        key = load_pem_private_key(_read(name, path), None)
        fits = key.public_key().public_bytes(*_RAW) == certificate.public_key().public_bytes(*_RAW)
    except TypeError:
        do = "give it without one, readable by this process alone"
        raise SettingsError(f"the key in {path} has a password", at=variable(name), do=do) from None
    except (ValueError, UnsupportedAlgorithm):
        do = "it begins with -----BEGIN PRIVATE KEY-----"
        raise SettingsError(f"{path} holds no private key in PEM", at=variable(name), do=do) from None
    if not fits:
        other = variable("temporal_tls_cert")
        raise SettingsError(f"the key in {path} is not that of the certificate", at=variable(name), do=f"see {other}")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        ended = f"the client certificate ended on {certificate.not_valid_after_utc:%Y-%m-%d}"
        raise SettingsError(ended, at=variable("temporal_tls_cert"), do="have it renewed")


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}", at=variable(setting), do="check its path, owner and mode"
        ) from None


def _api_key(reference: str) -> str:
    at = variable("temporal_api_key")
    key = environment_secret(reference)
    if not key:
        raise SettingsError(f"there is nothing behind {reference}", at=at, do="give this process the API key there")
    if not key.isascii() or not key.isprintable() or " " in key:
        # not quoted; as a header it would be refused with an error that quotes it
        raise SettingsError(f"what is behind {reference} is no API key", at=at, do="it is one line of plain letters")
    return key
