"""Anthropic's Messages API. One request per call, no retries, no environment, no key kept."""

from __future__ import annotations

import asyncio
import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from vertebra.providers.anthropic_wire import read_reply, wire_request
from vertebra.providers.errors import failure
from vertebra.providers.protocol import Place
from vertebra.schemas.errors import FailureKind, ProviderFailure
from vertebra.schemas.llm import ModelReply, ModelRequest

if TYPE_CHECKING:
    import anthropic
    import httpx2

NAME = "anthropic"
ENDPOINT = "https://api.anthropic.com"
_SAID_CHARS = 300

_STATUS: dict[int, FailureKind] = {
    401: "bad_key",
    402: "bad_key",
    403: "bad_key",
    408: "timeout",
    409: "server",
    413: "context_too_long",
    429: "rate_limited",
    504: "timeout",
    529: "overloaded",
}
_TOO_LONG = re.compile(
    r"prompt is too long|context (window|limit|length)|too many (total )?(text )?(bytes|tokens)", re.I
)
_FILTERED = re.compile(r"content filter", re.I)


class AnthropicProvider:
    """Asks Anthropic's own address, or one that the operator lists."""

    name = NAME
    secret: str | None = "secret://env/ANTHROPIC_API_KEY"  # noqa: S105  # the name of a secret

    def __init__(self, endpoints: frozenset[str] = frozenset()) -> None:
        """`endpoints`: other addresses that may be sent requests and keys, as graphs write them."""
        self._endpoints = endpoints | {ENDPOINT}
        self._http: httpx2.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        """Send one request. Raises ProviderFailure only; `place` is not sent."""
        at = f"{request.provider}/{request.model}"
        if not key or not (key.isascii() and key.isprintable()):
            raise failure("bad_key", at, "no key was given" if not key else "the key is no line of ASCII text")
        client = await self._client(request, at, key, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):  # the client's own limit is per read: a slow drip outlasts it
                return await _complete(client, request, at, key)
        except TimeoutError:
            raise failure("timeout", at, f"no reply within {timeout_s:g} s") from None

    async def aclose(self) -> None:
        """Close kept connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _client(self, request: ModelRequest, at: str, key: str, timeout_s: float) -> anthropic.AsyncAnthropic:
        endpoint = request.endpoint or ENDPOINT
        if endpoint not in self._endpoints:
            do = "ask the operator to add it to the list of endpoints"
            raise failure("bad_request", at, f"the endpoint {endpoint!r} is not allowed here", do=do)
        async with self._opening:
            self._http = self._http or await _connections(at)
        import anthropic  # vendor SDKs take a second to import: only where they are used

        client = anthropic.AsyncAnthropic(
            api_key=key,
            base_url=endpoint,
            timeout=timeout_s,
            max_retries=0,
            http_client=self._http,
            open_telemetry=False,
        )
        client._custom_headers = {}  # it adds those of ANTHROPIC_CUSTOM_HEADERS, which could replace the key
        return client


async def _connections(at: str) -> httpx2.AsyncClient:
    """In a thread, since it takes a second at first: heartbeats go on."""
    try:
        return await asyncio.to_thread(_open_connections)
    except ImportError:
        do = "install it: pip install 'vertebra[anthropic]'"
        raise failure("bad_request", at, "the package anthropic is not installed", do=do) from None


def _open_connections() -> httpx2.AsyncClient:
    """No proxies or certificates from the environment; no redirects, which would carry request and key elsewhere."""
    import anthropic.resources.messages  # noqa: F401  # it would be imported on first use, blocking the event loop
    import httpx2

    return httpx2.AsyncClient(trust_env=False, follow_redirects=False)


async def _complete(client: anthropic.AsyncAnthropic, request: ModelRequest, at: str, key: str) -> ModelReply:
    import anthropic

    try:
        raw = await client.messages.with_raw_response.create(**wire_request(request))  # type: ignore[call-overload]  # plain JSON
        body = await raw.read()
    except anthropic.APIStatusError as error:
        raise _refusal(error, at, key) from None
    except anthropic.APITimeoutError:
        raise failure("timeout", at) from None
    except anthropic.APIConnectionError as error:
        raise failure("network", at, type(error.__cause__ or error).__name__) from None
    return read_reply(body, request, at)


def _refusal(error: anthropic.APIStatusError, at: str, key: str) -> ProviderFailure:
    said = error.api_message if isinstance(error.api_message, str) else ""
    detail = f"HTTP {error.status_code}"
    if said:
        clean = said.replace(key, "***").encode(errors="replace").decode().replace("\x00", "")
        detail += f", {' '.join(clean.split())[:_SAID_CHARS]}"
    return failure(_kind(error, said), at, detail, _delay_s(error.response.headers))


def _kind(error: anthropic.APIStatusError, said: str) -> FailureKind:
    if error.type == "overloaded_error":
        return "overloaded"
    if error.status_code in (400, 422) and _TOO_LONG.search(said):
        return "context_too_long"
    if error.status_code == 400 and _FILTERED.search(said):
        return "content_filter"
    if error.status_code in _STATUS:
        return _STATUS[error.status_code]
    return "server" if error.status_code >= 500 else "bad_request"


def _delay_s(headers: httpx2.Headers) -> float | None:
    """What `Retry-After` asks for, as seconds or a date; None where it cannot be read."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until_s(text)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _until_s(date: str) -> float | None:
    try:
        return max(parsedate_to_datetime(date).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
