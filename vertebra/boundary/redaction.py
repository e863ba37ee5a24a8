"""Blots a secret out of what comes back from outside: whoever is sent one may quote it."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

_SHORTEST = 8
"""What is shorter is no secret but a word for a server that wants any: it would be blotted out of ordinary texts."""


def without(secret: str | None, text: str, mark: str = "***") -> str:
    """The text with the secret blotted out, in the forms in which it might be quoted."""
    if not secret or len(secret) < _SHORTEST:
        return text
    data = secret.encode()
    # some writers of JSON put a backslash before each slash
    escaped = secret.replace("/", "\\/")
    for form in (secret, escaped, quote(secret, safe=""), data.hex(), b64encode(data).decode().rstrip("=")):
        text = text.replace(form, mark)
    return text
