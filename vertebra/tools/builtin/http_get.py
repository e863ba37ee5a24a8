"""Fetch a page: through the one guarded client, from hosts that operator and graph allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from vertebra.boundary.egress import Ask
from vertebra.schemas.errors import BadToolOutput, EgressRefused
from vertebra.tools.contract import ToolContext, tool

_CHARS = 200_000


@dataclass(frozen=True)
class Page:
    """What was found. `text` is cut at 200,000 characters, and then `is_whole` is false."""

    status: int
    address: str
    media_type: str
    text: str
    is_whole: bool


@tool(effect="pure", runs="worker", timeout="30s")
async def http_get(address: Annotated[str, Field(min_length=1, max_length=2000)], context: ToolContext) -> Page:
    """Fetch a text or JSON document from an allowed host by its https address."""
    if context.egress is None:
        raise EgressRefused("this worker sends no requests", do="ask the operator to name hosts in egress_hosts")
    ask = Ask(method="GET", address=address, headers={"accept": "text/*, application/json;q=0.9, */*;q=0.1"})
    found = await context.egress.send(ask, within=context.hosts)
    try:
        text = found.body.decode().replace("\0", "\ufffd")
    except UnicodeDecodeError:
        raise BadToolOutput("the document is no UTF-8 text", tool="http_get", do="name a text document") from None
    media_type = found.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Page(found.status, found.address, media_type, text[:_CHARS], len(text) <= _CHARS)
