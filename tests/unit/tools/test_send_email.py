"""Sending mail once, and only the mail that was asked for."""

from __future__ import annotations

import asyncio
import email.policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from vertebra.schemas.errors import BadArguments
from vertebra.tools.builtin.send_email import send_email
from vertebra.tools.context import ToolContext

ASKED: dict[str, JsonValue] = {"to": "ada@example.org", "subject": "Grüße, your request", "text": "Hello\nÄda"}


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(idempotency_key="CALLID234", project=tmp_path, maildir=tmp_path / "mail")


def delivered(context: ToolContext) -> list[str]:
    return sorted(path.name for path in (context.maildir / "new").iterdir())


async def test_a_mail_is_a_readable_message(context: ToolContext) -> None:
    """The file under the call id is an RFC 5322 message with the given headers and text."""
    answer = await send_email.call(ASKED, context)

    data = (context.maildir / "new" / "CALLID234").read_bytes()
    message = BytesParser(EmailMessage, policy=email.policy.default).parsebytes(data)
    assert answer == {"message_id": "<CALLID234@vertebra.invalid>", "delivered_to": "ada@example.org"}
    assert (message["To"], message["Subject"]) == ("ada@example.org", "Grüße, your request")
    assert message.get_content().splitlines() == ["Hello", "Äda"]


async def test_a_second_attempt_sends_nothing(context: ToolContext) -> None:
    """Twenty attempts, some at once, deliver one message and all give the same answer."""
    answers = await asyncio.gather(*[send_email.call(ASKED, context) for _ in range(20)])

    assert delivered(context) == ["CALLID234"]
    assert all(answer == answers[0] for answer in answers)
    assert list((context.maildir / "tmp").iterdir()) == []


async def test_a_mail_that_was_read_is_not_sent_again(context: ToolContext) -> None:
    """A mail program that moved the message to cur/ does not make a later attempt deliver it again."""
    await send_email.call(ASKED, context)
    (context.maildir / "new" / "CALLID234").rename(context.maildir / "cur" / "CALLID234:2,S")

    await send_email.call(ASKED, context)

    assert delivered(context) == []


async def test_another_call_is_another_mail(context: ToolContext, tmp_path: Path) -> None:
    """The call id alone decides: the same text under another id is another message."""
    other = ToolContext(idempotency_key="CALLID777", project=tmp_path, maildir=tmp_path / "mail")

    await send_email.call(ASKED, context)
    await send_email.call(ASKED, other)

    assert delivered(context) == ["CALLID234", "CALLID777"]


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Hi\r\nBcc: eve@evil.example"},
        {"subject": "Hi\nBcc: eve@evil.example"},
        {"subject": "Hi\u2028Bcc: eve@evil.example"},
        {"subject": "Hi\x00"},
        {"to": "ada@example.org\nBcc: eve@evil.example"},
        {"to": "ada@example.org, eve@evil.example"},
        {"to": "Ada <ada@example.org>"},
        {"to": "ada"},
        {"to": "@example.org"},
        {"to": "ada@"},
        {"text": "\ud800"},
    ],
)
async def test_injected_headers_and_bad_addresses_are_refused(context: ToolContext, change: dict[str, Any]) -> None:
    """A line break in a header, a second address or no address is refused before anything is written."""
    with pytest.raises(BadArguments):
        await send_email.call(ASKED | change, context)

    assert not context.maildir.exists()


@pytest.mark.parametrize("key", ["../new/x", "a/b", "", ".hidden", "x" * 300])
async def test_an_odd_key_is_no_file_name(tmp_path: Path, key: str) -> None:
    """A key that could leave the folder is refused."""
    with pytest.raises(BadArguments):
        await send_email.call(ASKED, ToolContext(idempotency_key=key, project=tmp_path, maildir=tmp_path / "mail"))
