"""The connections of vendors' clients: through the guard, and with replies that end at a bound."""

from __future__ import annotations

from collections.abc import Iterable

import httpx2

from vertebra.boundary.decoding import ASKED, read_body
from vertebra.boundary.egress import GuardedTransport, Reach
from vertebra.policies.hosts import target_of

_OF_THE_WIRE = (b"content-encoding", b"content-length", b"transfer-encoding")


class VendorTransport(GuardedTransport):
    """Reads each reply itself, so that no client unpacks what a few bytes on the wire may hold.

    Raises EgressRefused where nothing was sent; HttpFailed for a reply beyond the bound, or a broken one.
    """

    def __init__(self, reach: Reach, limit: int) -> None:
        super().__init__(reach)
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = ASKED
        response = await super().handle_async_request(request)
        try:
            body = await read_body(response, self._limit)
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_WIRE]
        return httpx2.Response(response.status_code, headers=headers, content=body, extensions=response.extensions)


def reach_of(own: str, listed: Iterable[str]) -> Reach:
    """A vendor's own address, at public hosts only, and those that the operator lists, wherever they are."""
    inside = _rules(listed)
    return Reach(hosts=(*_rules([own]), *inside), inside=inside)


def _rules(addresses: Iterable[str]) -> tuple[str, ...]:
    targets = [one for one in map(target_of, addresses) if one is not None]  # settings refuse what is no address
    hosts = [(f"[{one.host}]" if ":" in one.host else one.host, one.port) for one in targets]
    return tuple(f"{host}:{port}" for host, port in hosts)
