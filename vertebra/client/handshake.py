"""What is wrong with the line to Temporal, in words: the core of its client tells only that there is none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

from temporalio.envconfig import ClientConfigTLS

_WAIT_S = 3.0
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""The preface of HTTP/2 and an empty SETTINGS frame (RFC 9113, section 3.4): a server that lets us in answers it."""
_CERT = "VERTEBRA_TEMPORAL_TLS_CERT"
_OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
_DATES = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_PLAIN = ("wrong version number", "record layer failure")
"""What OpenSSL says, older and newer, to an answer that is no TLS."""
_VERSIONS = ("protocol version", "unsupported protocol", "wrong ssl version")
_NO_NAME = "unrecognized name"
_NO_HTTP2 = "no application protocol"
_OF_CLIENTS = ("certificate", "unknown ca", "access denied", "decrypt error", "handshake failure")
"""The alerts that a server sends to a client whose certificate is missing or bad (RFC 8446, section 6.2)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, and what to do."""

    what: str
    do: str


async def explain(address: str, tls: ClientConfigTLS | None) -> Trouble | None:
    """What one handshake shows to be wrong with the line; None where it shows nothing, or nobody answers at all."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        context = _blind() if tls is None else _context(tls)
    except OSError as error:  # of ssl, too; the files were in order when the settings were read
        return Trouble(f"TLS fails: the files of certificates cannot be used: {error}", "see: vertebra doctor")
    name = (tls.server_name if tls else None) or host
    try:
        async with asyncio.timeout(_WAIT_S):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        return _distrusted(error, name)
    except ssl.SSLError as error:
        return None if tls is None else _broken(error, tls, name)
    except ConnectionResetError:
        return None if tls is None else _NO_TLS_THERE
    except (OSError, TimeoutError, ValueError):
        return None
    try:
        return _NO_TLS_HERE if tls is None else await _heard(reader, writer, tls, name)
    finally:
        writer.transport.abort()  # a polite end would wait for the other side's
        with contextlib.suppress(OSError):
            await writer.wait_closed()


_NO_TLS_HERE = Trouble("it wants an encrypted line", "set VERTEBRA_TEMPORAL_TLS=true")
_NO_TLS_THERE = Trouble(
    "TLS fails: what answers there speaks none", "correct VERTEBRA_TEMPORAL_ADDRESS, or unset VERTEBRA_TEMPORAL_TLS"
)


def _blind() -> ssl.SSLContext:
    """Only to see whether the other side speaks TLS; nothing is said on this line."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(tls: ClientConfigTLS) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_path(tls.server_root_ca_cert))
    context.set_alpn_protocols(["h2"])
    if (cert := _path(tls.client_cert)) is not None:
        context.load_cert_chain(cert, _path(tls.client_private_key))
    return context


def _path(source: object) -> str | None:
    return None if source is None else str(source)


async def _heard(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ClientConfigTLS, name: str
) -> Trouble | None:
    """Since TLS 1.3 a server looks at the client's certificate after the client thinks that all is well."""
    try:
        async with asyncio.timeout(_WAIT_S):
            writer.write(_GREETING)
            await writer.drain()
            return None if await reader.read(1) else _shown_out(tls)
    except ssl.SSLError as error:
        return _broken(error, tls, name)
    except ConnectionError:
        return _shown_out(tls)
    except TimeoutError:
        return None


def _distrusted(error: ssl.SSLCertVerificationError, name: str) -> Trouble:
    what = f"TLS fails: its certificate is not trusted: {error.verify_message}"
    if error.verify_code in _OTHER_NAME:
        return Trouble(what, "set VERTEBRA_TEMPORAL_TLS_SERVER_NAME to a name that the certificate has")
    if error.verify_code in _DATES:
        return Trouble(what, f"have the certificate of {name} renewed; is this machine's clock right?")
    return Trouble(what, "name the file of the authority that signed it: VERTEBRA_TEMPORAL_TLS_CA")


def _broken(error: ssl.SSLError, tls: ClientConfigTLS, name: str) -> Trouble:
    # a reason that Python does not know stands in the text
    said = (error.reason or str(error)).replace("_", " ").lower()
    if _has(said, _PLAIN):
        return _NO_TLS_THERE
    if _has(said, _VERSIONS):
        return Trouble(f"TLS fails: it speaks no version that we speak ({said})", "let it speak TLS 1.2 or newer")
    if _NO_NAME in said:
        return Trouble(f"TLS fails: it knows no server {name!r} ({said})", "correct VERTEBRA_TEMPORAL_TLS_SERVER_NAME")
    if _NO_HTTP2 in said:
        return Trouble(
            f"TLS fails: it is no Temporal, which speaks HTTP/2 ({said})", "correct VERTEBRA_TEMPORAL_ADDRESS"
        )
    if "alert" in said and _has(said, _OF_CLIENTS):
        return _shown_out(tls, f" ({said})")
    return Trouble(f"TLS fails ({said})", "see the log of what answers at VERTEBRA_TEMPORAL_ADDRESS")


def _has(said: str, words: tuple[str, ...]) -> bool:
    return any(word in said for word in words)


def _shown_out(tls: ClientConfigTLS, reason: str = "") -> Trouble:
    if tls.client_cert is None:
        return Trouble(
            f"TLS fails: it refused this client, which shows no certificate{reason}",
            f"set {_CERT} and VERTEBRA_TEMPORAL_TLS_KEY",
        )
    return Trouble(
        f"TLS fails: it refused the client certificate in {_path(tls.client_cert)}{reason}",
        f"have one signed by an authority that Temporal trusts: {_CERT}",
    )
