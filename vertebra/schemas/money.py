"""Money as integer micro-USD, tokens by class, and prices per million tokens: values only, no arithmetic on floats."""

from __future__ import annotations

from functools import cached_property
from typing import NewType

from pydantic import NonNegativeInt

from vertebra.schemas.canonical import Digest, canonical_bytes, digest_of
from vertebra.schemas.record import Recorded

MicroUSD = NewType("MicroUSD", int)
"""Millionths of a US dollar."""

ZERO = MicroUSD(0)


class Usage(Recorded):
    """Tokens of one call, each in exactly one class; `input` is what neither came from nor went into a cache."""

    input: NonNegativeInt = 0
    cache_read: NonNegativeInt = 0
    cache_write: NonNegativeInt = 0
    output: NonNegativeInt = 0

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.input + self.cache_read + self.cache_write + self.output

    @property
    def prompt(self) -> int:
        """All tokens of the request."""
        return self.input + self.cache_read + self.cache_write


class Price(Recorded):
    """Micro-dollars per million tokens, by class. A class without a price of its own costs as `input`."""

    provider: str
    model: str
    input: NonNegativeInt
    output: NonNegativeInt
    cache_read: NonNegativeInt | None = None
    cache_write: NonNegativeInt | None = None
    above: tuple[PriceStep, ...] = ()
    """Prices of requests with more prompt tokens, the smallest threshold first."""


class PriceStep(Recorded):
    """What the whole request costs once its prompt is longer than `tokens`."""

    tokens: NonNegativeInt
    input: NonNegativeInt
    output: NonNegativeInt
    cache_read: NonNegativeInt | None = None
    cache_write: NonNegativeInt | None = None


class PriceTable(Recorded):
    """The prices that a graph pins, in the order of provider and model."""

    prices: tuple[Price, ...] = ()

    @cached_property
    def canonical(self) -> bytes:
        """The bytes that are stored and hashed."""
        rows = sorted(self.prices, key=lambda price: (price.provider, price.model))
        return canonical_bytes([price.model_dump(mode="json") for price in rows])

    @cached_property
    def digest(self) -> Digest:
        """What a graph pins."""
        return digest_of(self.canonical)

    def find(self, provider: str, model: str) -> Price | None:
        """The price of this very model, or None."""
        return next((price for price in self.prices if (price.provider, price.model) == (provider, model)), None)


Price.model_rebuild()
