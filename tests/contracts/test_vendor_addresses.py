"""Where requests and keys go, and what of the environment goes with them: nothing. For each vendor, on a socket."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from email.utils import formatdate

import pytest

from tests.contracts.vendors.rigs import PATIENCE_S, WireRig, complete, failing
from tests.contracts.vendors.wire_server import Answer, WireServer
from tests.contracts.vendors.words import KEY, AnthropicWords, OpenAIWords, Told
from vertebra.providers import anthropic, openai
from vertebra.providers.exchange import VendorProvider
from vertebra.providers.protocol import Place
from vertebra.schemas.errors import FailureKind, ProviderFailure
from vertebra.schemas.llm import ModelReply

VENDORS = {vendor.name: vendor for vendor in (anthropic.VENDOR, openai.VENDOR)}
ENVIRONMENT = {
    "ANTHROPIC_API_KEY": "sk-environment",
    "ANTHROPIC_AUTH_TOKEN": "token-environment",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Environment: yes\nAuthorization: Bearer sk-environment\nX-Api-Key: sk-environment",
    "OPENAI_API_KEY": "sk-environment",
    "OPENAI_ADMIN_KEY": "sk-environment-admin",
    "OPENAI_BASE_URL": "http://127.0.0.1:9",
    "OPENAI_ORG_ID": "org-environment",
    "OPENAI_PROJECT_ID": "proj-environment",
    "OPENAI_CUSTOM_HEADERS": "X-Environment: yes\nAuthorization: Bearer sk-environment",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


@pytest.fixture(params=["anthropic", "openai"])
async def wire(request: pytest.FixtureRequest, server: WireServer) -> AsyncIterator[WireRig]:
    rig = WireRig(AnthropicWords() if request.param == "anthropic" else OpenAIWords(), server)
    yield rig
    await rig.provider.aclose()


async def asked_with(wire: WireRig, key: str | None) -> ModelReply:
    return await wire.provider.complete(
        wire.request, Place(run="r", node="node", visit=1), timeout_s=PATIENCE_S, key=key
    )


async def test_environment_is_not_read(wire: WireRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, account, address, headers and proxies of the environment reach neither client nor server."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    wire.says("x")

    await complete(wire)

    headers = json.dumps(wire.server.seen[0].headers)
    assert "environment" not in headers
    assert KEY in headers


async def test_a_server_without_a_key_is_sent_none(wire: WireRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is listed alone gets no key: none of the environment, and not one that was given by mistake."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    wire.provider = wire.words.adapter({wire.endpoint: None})
    wire.says("x")

    assert "x" == (await asked_with(wire, KEY)).content
    await wire.provider.aclose()

    assert wire.provider.secret(wire.endpoint) is None
    assert {"authorization", "x-api-key"}.isdisjoint(wire.server.seen[0].headers)
    assert KEY not in json.dumps(wire.server.seen[0].headers)


async def test_requests_go_to_listed_addresses_only(wire: WireRig) -> None:
    """An endpoint that the operator has not listed is refused before anything is sent, and has no key."""
    wire.provider = wire.words.adapter({})

    error = await failing(wire)

    assert ("bad_request", []) == (error.kind, wire.server.seen)
    assert wire.endpoint in str(error)
    assert wire.provider.secret(wire.endpoint) is None


def test_each_address_has_its_own_key() -> None:
    """The vendor's key goes to the vendor; a listed address has its own, and may name another for the vendor."""
    url = "https://api.openai.com/v1"
    listed = {"https://a.example/v1": "secret://env/A", "http://127.0.0.1:1/v1": None}

    plain = OpenAIWords().adapter(listed)
    moved = OpenAIWords().adapter({**listed, url: "secret://file/run/secrets/openai"})

    assert ["secret://env/OPENAI_API_KEY", "secret://env/A", None, None] == [
        plain.secret(endpoint)
        for endpoint in (None, "https://a.example/v1", "http://127.0.0.1:1/v1", "https://b.example")
    ]
    assert "secret://file/run/secrets/openai" == moved.secret(None) == moved.secret(url)


async def test_a_vendors_own_name_leads_to_public_hosts_only(wire: WireRig) -> None:
    """Where somebody has led it to a host inside, key and prompt stay here; an operator may list such an address."""
    wire.provider = VendorProvider(replace(VENDORS[wire.words.name], endpoint=wire.endpoint))
    wire.request = wire.request.model_copy(update={"endpoint": None})

    error = await failing(wire)

    assert ("bad_request", []) == (error.kind, wire.server.seen)
    assert "127.0.0.1, which is not public" in str(error)
    assert "VERTEBRA_ENDPOINTS" in (error.do or "")


async def test_a_reply_is_not_unpacked_beyond_its_bound(wire: WireRig) -> None:
    """A few bytes on the wire may hold gigabytes: what is beyond 8 MB is never made."""
    bomb = gzip.compress(bytes(128 * 2**20), compresslevel=1)
    wire.server.answer = Answer(body=bomb, headers={"content-encoding": "gzip"})
    tracemalloc.start()

    error = await failing(wire)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "malformed" == error.kind
    assert "more than 8000000 bytes" in str(error)
    assert 64 * 2**20 > most


async def test_only_what_can_be_unpacked_is_asked_for(wire: WireRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks for more where another library is installed; such a reply would be bought and not read."""
    monkeypatch.setattr("httpx2._client.ACCEPT_ENCODING", "gzip, deflate, br, zstd")
    wire.says("x")

    await complete(wire)

    assert "gzip, deflate" == wire.server.seen[0].headers["accept-encoding"]


async def test_a_compressed_reply_is_read(wire: WireRig) -> None:
    """Vendors compress what they send."""
    wire.says("x")
    wire.server.answer = Answer(body=gzip.compress(wire.server.answer.body), headers={"content-encoding": "gzip"})

    assert "x" == (await complete(wire)).content


@pytest.mark.parametrize("key", [None, "", "sk-a\nb", "schlüssel"])
async def test_missing_or_odd_key_sends_nothing(wire: WireRig, key: str | None) -> None:
    """Without a usable key nothing leaves, whatever the environment holds; the name of the secret is told."""
    with pytest.raises(ProviderFailure) as caught:
        await asked_with(wire, key)

    assert ("bad_key", []) == (caught.value.kind, wire.server.seen)
    assert wire.words.secret in str(caught.value)


async def test_slow_drip_ends_at_the_limit(wire: WireRig) -> None:
    """The time limit is for the whole reply: one byte now and then does not extend it."""
    wire.says("x")
    wire.server.answer.how = "drip"

    assert "timeout" == (await failing(wire, timeout_s=0.5)).kind


async def test_nobody_listens(wire: WireRig) -> None:
    """A refused connection is a network failure."""
    await wire.server.stop()

    assert "network" == (await failing(wire)).kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(503, b"unavailable"), "server"),
        (Answer(502, b"<html>bad gateway</html>", {"content-type": "text/html"}), "server"),
        (Answer(429, b"{"), "rate_limited"),
        (Answer(413, b""), "context_too_long"),
        (Answer(302, b"", {"location": "http://127.0.0.1:9/"}), "bad_request"),
        (Answer(400, b'{"error": "just a text"}'), "bad_request"),
        (Answer(400, b"[1, 2]"), "bad_request"),
    ],
)
async def test_errors_without_the_vendors_form(wire: WireRig, answer: Answer, kind: FailureKind) -> None:
    """What a gateway says in between is read by its status; a redirect is not followed; nothing is sent twice."""
    wire.server.answer = answer

    assert kind == (await failing(wire)).kind
    assert 1 == len(wire.server.seen)


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("retry-after", lambda: "1.5", lambda delay: delay == 1.5),
        ("retry-after", lambda: formatdate(usegmt=True), lambda delay: delay == 0),
        ("retry-after", lambda: "Wed, 01 Jan 2200 00:00:00 GMT", lambda delay: delay == 600),
        ("retry-after", lambda: "nan", lambda delay: delay is None),
        ("retry-after", lambda: "-5", lambda delay: delay is None),
        ("retry-after", lambda: "soon, perhaps", lambda delay: delay is None),
        ("retry-after-ms", lambda: "2500", lambda delay: delay == 2.5),
    ],
)
async def test_forms_of_retry_after(
    wire: WireRig, header: str, value: Callable[[], str], expected: Callable[[float | None], bool]
) -> None:
    """Seconds, dates and milliseconds are understood; what cannot be read is no delay."""
    wire.fails("rate_limited")
    wire.server.answer.headers[header] = value()

    assert expected((await failing(wire)).retry_after_s)


async def test_a_long_error_is_cut(wire: WireRig) -> None:
    """A vendor that says a whole page leaves 300 characters of it, on one line, in the error."""
    told = Told(400, "invalid_request_error", "word\n" * 10_000)
    wire.server.answer = Answer(400, wire.words.error(told))

    error = await failing(wire)

    assert 300 < len(error.message) < 400
    assert "\n" not in error.message
