"""Where Temporal is and how the line to it is secured; every client of the product is made here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from vertebra.client.handshake import explain
from vertebra.schemas.errors import StoreError

AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
"""Temporal cannot be reached. The client says `cancelled` for its own time limit and for a connection that was cut."""
_STRANGER = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
_STRANGER_IN_WORDS = ("code: Unauthenticated", "code: PermissionDenied")
"""The first question of a new client fails with the core's text, not with a status."""
_CONNECT_S = 5.0
_HIDDEN = "[secret]"
_NOT_LET_IN = (
    "check VERTEBRA_TEMPORAL_API_KEY, or the client certificate, and that they may use this namespace; "
    "see: vertebra doctor"
)
_NO_TLS = ClientConfigTLS(disabled=True)


@dataclass(frozen=True, slots=True)
class Address:
    """Where Temporal is, and how to get in."""

    address: str
    namespace: str
    tls: ClientConfigTLS | None = None
    """The files of the encrypted line, by path; None: it is not encrypted."""
    api_key: str | None = field(default=None, repr=False)


async def connect(address: Address, plugins: Sequence[Plugin] = (), runtime: Runtime | None = None) -> Client:
    """A client. Raises StoreError where nobody answers, or the line or this client is refused."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            return await opened(address, plugins, runtime)
    except RuntimeError as error:  # the core says that whatever is wrong
        if any(words in str(error) for words in _STRANGER_IN_WORDS):
            raise StoreError(f"Temporal at {address.address} does not let this client in", do=_NOT_LET_IN) from None
    except (RPCError, OSError):  # a timeout, or a file that has gone since it was looked at
        pass
    raise await _why(address)


async def opened(address: Address, plugins: Sequence[Plugin] = (), runtime: Runtime | None = None) -> Client:
    """As `connect`, but in the client's own time and with its own errors."""
    profile = ClientConfigProfile(
        address=address.address, namespace=address.namespace, api_key=address.api_key, tls=address.tls or _NO_TLS
    )
    return await Client.connect(**profile.to_client_connect_config(), plugins=plugins, runtime=runtime)


def refused(error: RPCError, client: Client) -> StoreError:
    """What became of a question, as an error of ours. What the server says is not believed to keep a key to itself."""
    if error.status in AWAY:
        return unreachable(client.service_client.config.target_host)
    key = client.service_client.config.api_key
    said = error.message.replace(key, _HIDDEN) if key else error.message
    if error.status in _STRANGER:
        return StoreError(f"Temporal does not let this client in: {said}", do=_NOT_LET_IN)
    return StoreError(f"Temporal refused: {said}", do="see: vertebra doctor")


def unreachable(address: str) -> StoreError:
    """Nobody answers there."""
    return StoreError(
        f"Temporal cannot be reached at {address}", do="start `vertebra dev`, or set VERTEBRA_TEMPORAL_ADDRESS"
    )


async def _why(address: Address) -> StoreError:
    """A failed connection, explained where its line is at fault."""
    trouble = await explain(address.address, address.tls)
    if trouble is None:
        return unreachable(address.address)
    return StoreError(f"Temporal at {address.address}: {trouble.what}", do=trouble.do)
