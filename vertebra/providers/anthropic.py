"""Anthropic's Messages API."""

from __future__ import annotations

from vertebra.providers.anthropic_wire import read_reply, wire_request
from vertebra.providers.exchange import Cut, Refusal, Timeout, Vendor, Way
from vertebra.schemas.llm import ModelRequest

NAME = "anthropic"
ENDPOINT = "https://api.anthropic.com"
SECRET = "secret://env/ANTHROPIC_API_KEY"  # noqa: S105  # the name of a secret


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
        raise Cut(error.__cause__ or error) from None
    return body


VENDOR = Vendor(NAME, "anthropic.resources.messages", ENDPOINT, SECRET, _send, read_reply)
