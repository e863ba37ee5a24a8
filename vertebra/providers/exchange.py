"""One request to a vendor over HTTP and one reply, for every vendor's client: address, key, time, connections."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vertebra.boundary.redaction import without
from vertebra.providers.addresses import Addresses
from vertebra.providers.delay import delay_s
from vertebra.providers.errors import failure, told
from vertebra.schemas.errors import ProviderFailure
from vertebra.schemas.llm import ModelRequest

if TYPE_CHECKING:
    import httpx2


class Timeout(Exception):
    """The vendor's client gave up waiting."""


class Cut(Exception):
    """No whole reply came: the connection was refused, reset or broken off. The message names how."""


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


class Exchange:
    """The connections of one adapter. Nothing is imported or opened before the first request."""

    def __init__(self, package: str, module: str, addresses: Addresses, send: Send) -> None:
        """`module`: the part of the package that its client would import on first use, blocking the event loop."""
        self._package = package
        self._module = module
        self._addresses = addresses
        self._send = send
        self._http: httpx2.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def body(self, request: ModelRequest, *, timeout_s: float, key: str | None) -> bytes:
        """The body of the vendor's reply. Raises ProviderFailure only."""
        at = f"{request.provider}/{request.model}"
        url = self._addresses.url(request.endpoint, at)
        needed = self._addresses.secret(request.endpoint)
        usable = _checked(key, needed, at)
        async with self._opening:
            self._http = self._http or await self._connections(at)
        try:
            async with asyncio.timeout(timeout_s):  # the client's own limit is per read: a slow drip outlasts it
                body = await self._send(request, Way(url, usable, timeout_s, self._http))
        except TimeoutError:
            raise failure("timeout", at, f"no reply within {timeout_s:g} s") from None
        except Timeout:
            raise failure("timeout", at) from None
        except Cut as cut:
            raise failure("network", at, str(cut)) from None
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
            return await asyncio.to_thread(_open, self._module)
        except ImportError:
            do = f"install it: pip install 'vertebra[{self._package}]'"
            raise failure("bad_request", at, f"the package {self._package} is not installed", do=do) from None


def _open(module: str) -> httpx2.AsyncClient:
    """No proxies or certificates from the environment; no redirects, which would carry request and key elsewhere."""
    importlib.import_module(module)
    import httpx2  # like the vendors' clients: only where it is used

    return httpx2.AsyncClient(trust_env=False, follow_redirects=False)


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
