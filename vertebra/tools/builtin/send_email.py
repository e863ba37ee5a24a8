"""Send an e-mail: on a laptop, into a local maildir whose file name is the idempotency key.

The message is written beside its place and linked there, create-only: whoever comes second finds it delivered, so any
number of attempts, also at the same moment, delivers once.
"""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vertebra.schemas.errors import BadArguments
from vertebra.tools.contract import ToolContext, tool

_SENDER = Address("Support", "support", "vertebra.invalid")  # RFC 2606: never a real host
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


@dataclass(frozen=True)
class Delivered:
    """The same for every attempt of one call."""

    message_id: str
    delivered_to: str


@tool(effect="keyed", runs="worker", timeout="10s")
def send_email(
    to: Annotated[str, Field(min_length=3, max_length=320)],
    subject: Annotated[str, Field(max_length=500)],
    text: Annotated[str, Field(max_length=200_000)],
    context: ToolContext,
) -> Delivered:
    """Send a plain text e-mail to one address."""
    key = context.idempotency_key
    if not _KEY.fullmatch(key):
        raise BadArguments("the idempotency key cannot be a file name", tool="send_email")
    message_id = f"<{key}@vertebra.invalid>"
    message = _message(_address(to), _header("subject", subject), text, message_id)
    _deliver(context.maildir, key, message)
    return Delivered(message_id, to)


def _header(name: str, value: str) -> str:
    if _CONTROL.search(value):
        raise BadArguments(f"{name!r} holds a line break or control character", tool="send_email", do="leave it out")
    return value


def _address(to: str) -> Address:
    advice = "give one address like ada@example.org"
    try:
        address = Address(addr_spec=_header("to", to))
    except (HeaderParseError, ValueError, IndexError):
        raise BadArguments("'to' is no e-mail address", tool="send_email", do=advice) from None
    if not (address.username and address.domain):
        raise BadArguments("'to' is no e-mail address", tool="send_email", do=advice)
    return address


def _message(to: Address, subject: str, text: str, message_id: str) -> bytes:
    message = EmailMessage(policy=SMTP if to.addr_spec.isascii() else SMTPUTF8)
    message["From"] = _SENDER
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = message_id
    message.set_content(text)
    return message.as_bytes()


def _deliver(maildir: Path, key: str, message: bytes) -> None:
    """Put the message into `new/` under its key, unless it is there or a mail program has moved it to `cur/`."""
    for folder in ("tmp", "new", "cur"):
        (maildir / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    place = maildir / "new" / key
    if place.exists() or _was_read(maildir, key):
        return
    draft = maildir / "tmp" / f"{key}.{uuid.uuid4().hex}"
    try:
        _write(draft, message)
        os.link(draft, place)
    except FileExistsError:
        return  # another attempt was faster
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(place.parent)


def _was_read(maildir: Path, key: str) -> bool:
    """A mail program renames what it has shown to `<key>:2,<flags>` in `cur/`."""
    return any(name == key or name.startswith(f"{key}:") for name in os.listdir(maildir / "cur"))


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
