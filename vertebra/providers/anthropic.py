"""Anthropic's Messages API. One request per call, no retries, no environment, no key kept."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.providers.addresses import Addresses
from vertebra.providers.anthropic_wire import read_reply, wire_request
from vertebra.providers.exchange import Cut, Exchange, Refusal, Timeout, Way
from vertebra.providers.protocol import Place
from vertebra.schemas.llm import ModelReply, ModelRequest

NAME = "anthropic"
ENDPOINT = "https://api.anthropic.com"
SECRET = "secret://env/ANTHROPIC_API_KEY"  # noqa: S105  # the name of a secret


class AnthropicProvider:
    """Asks Anthropic's own address, or one that the operator lists."""

    name = NAME

    def __init__(self, endpoints: Mapping[str, str | None] | None = None) -> None:
        """`endpoints`: addresses that the operator lists, each with the name of the secret that is sent there."""
        self._addresses = Addresses(ENDPOINT, SECRET, endpoints or {})
        self._exchange = Exchange("anthropic", "anthropic.resources.messages", self._addresses, _send)

    def secret(self, endpoint: str | None) -> str | None:
        return self._addresses.secret(endpoint)

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        """Send one request. Raises ProviderFailure only; `place` is not sent."""
        body = await self._exchange.body(request, timeout_s=timeout_s, key=key)
        return read_reply(body, request, f"{request.provider}/{request.model}")

    async def aclose(self) -> None:
        """Close kept connections."""
        await self._exchange.aclose()


async def _send(request: ModelRequest, way: Way) -> bytes:
    import anthropic  # vendor SDKs take a second to import: only where they are used

    client = anthropic.AsyncAnthropic(
        api_key=way.key or "none",
        base_url=way.url,
        timeout=way.timeout_s,
        max_retries=0,
        http_client=way.http,
        open_telemetry=False,
    )
    client._custom_headers = {}  # it adds those of ANTHROPIC_CUSTOM_HEADERS, which could replace the key
    headers = {} if way.key else {"X-Api-Key": anthropic.omit, "Authorization": anthropic.omit}
    try:
        raw = await client.messages.with_raw_response.create(**wire_request(request), extra_headers=headers)  # type: ignore[call-overload]  # plain JSON
        body: bytes = await raw.read()
    except anthropic.APIStatusError as error:
        said = error.api_message if isinstance(error.api_message, str) else ""
        words = frozenset([error.type] if error.type else [])
        raise Refusal(error.status_code, words, said, error.response.headers) from None
    except anthropic.APITimeoutError:
        raise Timeout from None
    except anthropic.APIConnectionError as error:
        raise Cut(type(error.__cause__ or error).__name__) from None
    return body
