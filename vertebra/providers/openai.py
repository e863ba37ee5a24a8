"""OpenAI's Chat Completions, and every server that speaks them: vLLM, Ollama, TGI, gateways."""

from __future__ import annotations

from vertebra.providers.exchange import Cut, Refusal, Timeout, Vendor, Way
from vertebra.providers.openai_wire import read_reply, wire_request
from vertebra.schemas.llm import ModelRequest

NAME = "openai"
ENDPOINT = "https://api.openai.com/v1"
SECRET = "secret://env/OPENAI_API_KEY"  # noqa: S105  # the name of a secret


async def _send(request: ModelRequest, way: Way) -> bytes:
    import openai  # vendor SDKs take a second to import: only where they are used

    client = openai.AsyncOpenAI(
        api_key=way.key or "none",
        base_url=way.url,
        timeout=way.timeout_s,
        max_retries=0,
        http_client=way.http,
    )
    # it takes these from the environment: headers that could replace the key, and whose account is charged
    client._custom_headers = {}
    client.organization = client.project = client.admin_api_key = None
    headers = {} if way.key else {"Authorization": openai.omit}
    try:
        raw = await client.chat.completions.with_raw_response.create(**wire_request(request), extra_headers=headers)  # type: ignore[call-overload]  # plain JSON
        body: bytes = raw.content
    except openai.APIStatusError as error:
        raise Refusal(error.status_code, _words(error), _said(error), error.response.headers) from None
    except openai.APITimeoutError:
        raise Timeout from None
    except openai.APIConnectionError as error:
        raise Cut(error.__cause__ or error) from None
    return body


def _words(error: object) -> frozenset[str]:
    """What the server calls the error. Servers of the same interface put numbers there, or nothing."""
    found = (getattr(error, "code", None), getattr(error, "type", None))
    return frozenset(word for word in found if isinstance(word, str))


def _said(error: object) -> str:
    """The server's message; some say it without the object around it."""
    body = getattr(error, "body", None)
    said = body.get("message", body.get("detail")) if isinstance(body, dict) else None
    return said if isinstance(said, str) else ""


VENDOR = Vendor(NAME, "openai.resources.chat.completions", ENDPOINT, SECRET, _send, read_reply)
