"""One request to a vendor over HTTP and one reply, for every vendor's client: address, key, time, connections."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from vertebra.boundary.redaction import without
from vertebra.providers.addresses import Addresses
from vertebra.providers.delay import delay_s
from vertebra.providers.errors import failure, told
from vertebra.providers.protocol import Place
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.errors import BadJson, EgressRefused, HttpFailed, ProviderFailure
from vertebra.schemas.llm import ModelReply, ModelRequest
from vertebra.schemas.strict_json import read_json

if TYPE_CHECKING:
    import httpx2


class Timeout(Exception):
    """The vendor's client gave up waiting."""


class Cut(Exception):
    """No whole reply came: the connection was refused, reset or broken off, or the reply was cut at its bound."""

    def __init__(self, why: BaseException) -> None:
        super().__init__(why)
        self.why = why


class Refusal(Exception):
    """The vendor answered with an error."""

    def __init__(self, status: int, words: frozenset[str], said: str, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.words = words
        self.said = said
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Way:
    """What a vendor's client is made of for one request."""

    url: str
    key: str | None = field(repr=False)
    """None: this address is asked without one."""
    timeout_s: float
    http: httpx2.AsyncClient


Send = Callable[[ModelRequest, Way], Awaitable[bytes]]
"""Sends one request by the vendor's client and gives the body as it came. Raises Timeout, Cut, Refusal."""
Read = Callable[[Json, ModelRequest, str], ModelReply]
"""The vendor's reply in our words. Raises ValidationError or BadJson where it is none, ProviderFailure."""
MAX_REPLY_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Vendor:
    """What is one vendor's own."""

    name: str
    """Also of its package, and of the extra that installs that."""
    module: str
    """The part of the package that its client would import on first use, blocking the event loop."""
    endpoint: str
    secret: str
    """The name of the secret that holds the key for its own address."""
    send: Send
    read: Read


class VendorProvider:
    """Asks a vendor at its own address, or at one that the operator lists, with the key of that address or with none.

    One request per call, no retries, no environment, no key kept. Nothing is imported or opened before the first.
    """

    def __init__(self, vendor: Vendor, endpoints: Mapping[str, str | None] | None = None) -> None:
        """`endpoints`: addresses that the operator lists, each with the name of the secret that is sent there."""
        self._vendor = vendor
        self._addresses = Addresses(vendor.endpoint, vendor.secret, endpoints or {})
        self._http: httpx2.AsyncClient | None = None
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._vendor.name

    def secret(self, endpoint: str | None) -> str | None:
        return self._addresses.secret(endpoint)

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        """Send one request. Raises ProviderFailure only, without quoting a reply; `place` is not sent."""
        at = f"{request.provider}/{request.model}"
        body = await self._body(request, at, timeout_s=timeout_s, key=key)
        try:
            return _without(key, self._vendor.read(_said(body, key), request, at))
        except BadJson as problem:
            raise failure("malformed", at, without(key, str(problem))) from None
        except ValidationError as problem:
            fields = ", ".join(".".join(map(str, error["loc"])) for error in problem.errors()[:3])
            raise failure("malformed", at, f"missing or wrong: {fields or 'reply'}") from None

    async def _body(self, request: ModelRequest, at: str, *, timeout_s: float, key: str | None) -> bytes:
        url = self._addresses.url(request.endpoint, at)
        needed = self._addresses.secret(request.endpoint)
        usable = _checked(key, needed, at)
        async with self._opening:
            self._http = self._http or await self._connections(at)
        try:
            async with asyncio.timeout(timeout_s):  # the client's own limit is per read: a slow drip outlasts it
                body = await self._vendor.send(request, Way(url, usable, timeout_s, self._http))
        except TimeoutError:
            raise failure("timeout", at, f"no reply within {timeout_s:g} s") from None
        except Timeout:
            raise failure("timeout", at) from None
        except (Cut, EgressRefused, HttpFailed) as error:  # some clients wrap what a transport raises, others do not
            raise _broken(error.why if isinstance(error, Cut) else error, at) from None
        except Refusal as refusal:
            raise _failure(refusal, at, usable) from None
        return body if usable is None else without(usable, body.decode("latin-1")).encode("latin-1")

    async def aclose(self) -> None:
        """Close kept connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _connections(self, at: str) -> httpx2.AsyncClient:
        """In a thread, since it takes a second at first: heartbeats go on."""
        try:
            return await asyncio.to_thread(_open, self._vendor.module, self._addresses)
        except ImportError:
            do = f"install it: pip install 'vertebra[{self.name}]'"
            raise failure("bad_request", at, f"the package {self.name} is not installed", do=do) from None


def _open(module: str, addresses: Addresses) -> httpx2.AsyncClient:
    """No proxies or certificates from the environment; no redirects, which would carry request and key elsewhere."""
    importlib.import_module(module)
    import httpx2  # like the vendors' clients: only where it is used

    from vertebra.providers.transport import VendorTransport, reach_of

    transport = VendorTransport(reach_of(addresses.own, addresses.listed), MAX_REPLY_BYTES)
    return httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)


def _said(body: bytes, key: str | None) -> Json:
    """The vendor's JSON without the key, also where it writes letters as numbers. Raises BadJson."""
    value = read_json(body, max_bytes=MAX_REPLY_BYTES, at="reply")
    if key is None or b"\\u" not in body:
        return value
    return read_json(without(key, json_text(value)), max_bytes=MAX_REPLY_BYTES, at="reply")


def _without(key: str | None, reply: ModelReply) -> ModelReply:
    """The reply without the key in its tool calls, whose arguments some vendors send as JSON within JSON."""
    if key is None or not reply.tool_calls:
        return reply
    said = reply.model_dump_json()
    clean = without(key, said)
    return reply if clean == said else ModelReply.model_validate_json(clean)


def _broken(why: BaseException, at: str) -> ProviderFailure:
    """What became of an exchange that gave no reply. A host that may not be reached was sent nothing."""
    if isinstance(why, EgressRefused):
        do = "where the vendor is reached through a host inside, list its address in VERTEBRA_ENDPOINTS"
        return failure("bad_request", at, why.message, do=do)
    if isinstance(why, HttpFailed):
        return failure("malformed", at, why.message)
    return failure("network", at, type(why).__name__)


def _checked(key: str | None, secret: str | None, at: str) -> str | None:
    """The key, where this address takes one. Raises ProviderFailure for one that cannot be sent."""
    if secret is None:
        return None
    if not key:
        raise failure("bad_key", at, f"no key was given: {secret} is empty")
    if not (key.isascii() and key.isprintable()):
        raise failure("bad_key", at, f"the key in {secret} is no line of ASCII text")
    return key


def _failure(refusal: Refusal, at: str, key: str | None) -> ProviderFailure:
    return told(at, refusal.status, refusal.words, refusal.said, key, delay_s(refusal.headers))
