"""Money as integer micro-USD, and prices per million tokens by class: values only, never a float."""

from __future__ import annotations

from functools import cached_property
from typing import NewType

from pydantic import NonNegativeInt

from vertebra.schemas.canonical import Digest, canonical_bytes, digest_of
from vertebra.schemas.record import Recorded

MicroUSD = NewType("MicroUSD", int)
"""Millionths of a US dollar."""

ZERO = MicroUSD(0)


def usd(amount: int) -> str:
    """An amount of micro-USD for people: `$0.012345`, at least two decimals."""
    sign, rest = ("-", -amount) if amount < 0 else ("", amount)
    decimals = f"{rest % 1_000_000:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${rest // 1_000_000}.{decimals}"


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


class Rates(Recorded):
    """Micro-dollars per million tokens, by class. A cache class without a price of its own costs as `input`."""

    input: NonNegativeInt
    output: NonNegativeInt
    cache_read: NonNegativeInt | None = None
    cache_write: NonNegativeInt | None = None


class PriceStep(Rates):
    """What the whole request costs once its prompt is longer than `tokens`."""

    tokens: NonNegativeInt


class Price(Rates):
    """What one model costs."""

    provider: str
    model: str
    above: tuple[PriceStep, ...] = ()
    """The rates of longer prompts, the smallest threshold first."""


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
