"""What a model vendor must offer; everything above this line speaks of requests and replies, never of a vendor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vertebra.schemas.llm import ModelReply, ModelRequest


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which run a request belongs. It is no part of what is sent, but scripted replies depend on it."""

    run: str
    node: str
    visit: int
    turn: int = 1
    call_id: str = ""
    attempt: int = 1
    """1 for the first attempt that leaves the gate."""


class Provider(Protocol):
    """One model vendor. It never retries, reads no environment, and holds no key between two calls."""

    @property
    def name(self) -> str:
        """The id that graphs write: `anthropic`."""
        ...

    def secret(self, endpoint: str | None) -> str | None:
        """Where the key for requests to this endpoint (None: the vendor's own) is kept: `secret://env/NAME`.

        The caller resolves it just before the call. None: no key is sent there.
        """
        ...

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        """Send exactly one request and wait for the whole reply, at most `timeout_s`. Raises ProviderFailure only."""
        ...

    async def aclose(self) -> None:
        """Give back connections; the provider is not used again."""
        ...
