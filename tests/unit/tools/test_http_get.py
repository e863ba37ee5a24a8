"""The tool that fetches pages. Where it may not go is tried in tests/attacks/test_egress.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers import reply, serving
from vertebra.boundary.egress import Egress, Reach
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadToolOutput, EgressRefused
from vertebra.tools.builtin.http_get import http_get
from vertebra.tools.contract import ToolContext


async def _home(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def fetched(answer: bytes, address: str = "http://HOST/", hosts: tuple[str, ...] = ("HOST",)) -> Json:
    """What the tool says of an address at a host of the test's own."""
    async with serving(lambda asked: answer) as heard:
        here = f"docs.example:{heard.port}"
        async with Egress(Reach(hosts=(here,), inside=(here,)), resolve=_home) as out:
            rules = tuple(rule.replace("HOST", here) for rule in hosts)
            context = ToolContext(idempotency_key="k", project=Path(), maildir=Path(), egress=out, hosts=rules)
            return await http_get.call({"address": address.replace("HOST", here)}, context)


async def test_a_page_is_fetched() -> None:
    """Status, type and text of a document are the answer, whatever the status."""
    found = await fetched(reply(404, "nö".encode(), {"content-type": "text/plain; charset=utf-8"}))

    assert isinstance(found, dict)
    assert (404, "nö", "text/plain", True) == tuple(found[key] for key in ("status", "text", "media_type", "is_whole"))


async def test_a_long_page_is_cut() -> None:
    """A model is given the beginning, and told that it is not the whole."""
    found = await fetched(reply(body=b"x" * 300_000))

    assert isinstance(found, dict)
    assert (200_000, False) == (len(str(found["text"])), found["is_whole"])


async def test_what_is_no_text_is_told() -> None:
    """Bytes that no model reads are a named failure."""
    with pytest.raises(BadToolOutput):
        await fetched(reply(body=b"\xff\x00"))


@pytest.mark.parametrize(
    ("address", "hosts"),
    [("http://HOST/", ()), ("http://HOST/", ("other.example",)), ("http://169.254.169.254/", ("*",))],
)
async def test_a_model_goes_nowhere_else(address: str, hosts: tuple[str, ...]) -> None:
    """An address that operator or graph do not allow is refused, and the model reads why."""
    with pytest.raises(EgressRefused):
        await fetched(reply(body=b"secret"), address, hosts)


async def test_without_hosts_nothing_leaves() -> None:
    """A worker without a way out says so."""
    with pytest.raises(EgressRefused, match="sends no requests"):
        await http_get.call(
            {"address": "https://a.example/"}, ToolContext(idempotency_key="k", project=Path(), maildir=Path())
        )
