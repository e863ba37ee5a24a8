"""What models cost: the operator's `prices.yaml` first, else the list shipped with genai-prices. Never the network.

A model that neither knows is refused: nothing would bound what it may cost. The same holds for one that is also charged
by something other than tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_CEILING, Decimal

from genai_prices import data_snapshot
from genai_prices.types import ModelPrice, TieredPrices
from pydantic import ValidationError

from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile, Complaints, GraphError, Unpriced
from vertebra.schemas.money import Price, PriceStep, PriceTable
from vertebra.schemas.record import Authored

_PER_DOLLAR = 1_000_000
_CLASSES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}
UNLISTED = "no price list knows it"
_UNBOUNDED = ("requests_kcount",)
"""Charges that come with every request, whatever its tokens."""


class PriceRow(Authored):
    """One line of prices.yaml, in micro-dollars per million tokens."""

    provider: str
    model: str
    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None


def overlay(rows: Json, *, at: str = "prices.yaml") -> PriceTable:
    """The operator's own prices, from the values of prices.yaml (a list, or nothing). Raises Complaints."""
    if rows is None:
        return PriceTable()
    if not isinstance(rows, list):
        raise Complaints([BadFile("prices are a list of lines", at=at, do=f"write: {_example('acme', 'model-1')}")])
    prices: dict[tuple[str, str], Price] = {}
    complaints: list[GraphError] = []
    for number, row in enumerate(rows, 1):
        try:
            price = Price(**PriceRow.model_validate(row).model_dump())
        except ValidationError as error:
            complaints.append(_complaint(error, f"{at}: line {number} of the list"))
            continue
        if prices.setdefault((price.provider, price.model), price) is not price:
            complaints.append(BadFile(f"{price.provider}/{price.model} has a second price", at=at, do="keep one"))
    if complaints:
        raise Complaints(complaints)
    return PriceTable(prices=tuple(prices.values()))


def price_of(provider: str, model: str, own: PriceTable, now: datetime, *, endpoint: str | None = None) -> Price:
    """Today's price of a model; `now` matters to prices that change with time. Raises Unpriced, with the remedy.

    A list tells what a vendor asks at its own address; at any other the operator has to say, zero if nothing is asked.
    """
    found = own.find(provider, model)
    if found is None and endpoint is not None:
        raise _unpriced(provider, model, f"no price list tells what {endpoint} asks")
    return found or _listed(provider, model, now)


def _listed(provider: str, model: str, now: datetime) -> Price:
    try:
        _, info = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        raise _unpriced(provider, model, UNLISTED) from None
    rates = info.get_prices(now)
    if any(getattr(rates, name) is not None for name in _UNBOUNDED):
        raise _unpriced(provider, model, "it also charges by the request")
    if rates.input_mtok is None or rates.output_mtok is None:
        raise _unpriced(provider, model, "the price list has no price per token")
    return _price(provider, model, rates)


def _price(provider: str, model: str, rates: ModelPrice) -> Price:
    listed = {name: getattr(rates, theirs) for name, theirs in _CLASSES.items()}
    starts = sorted(
        {tier.start for value in listed.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    )
    above = [PriceStep.model_validate({"tokens": start, **_at(listed, start)}) for start in starts]
    return Price.model_validate({"provider": provider, "model": model, **_at(listed, None), "above": above})


def _at(listed: Mapping[str, Decimal | TieredPrices | None], start: int | None) -> dict[str, int | None]:
    """All classes' rates above a threshold, or below the first one."""
    rates: dict[str, int | None] = {}
    for name, value in listed.items():
        if isinstance(value, TieredPrices):
            passed = [tier.price for tier in value.tiers if start is not None and tier.start <= start]
            value = passed[-1] if passed else value.base
        rates[name] = None if value is None else _micro(value)
    return rates


def _micro(dollars: Decimal) -> int:
    return int((dollars * _PER_DOLLAR).to_integral_value(ROUND_CEILING))


def _unpriced(provider: str, model: str, why: str) -> Unpriced:
    do = f"add to prices.yaml, in micro-dollars per million tokens: {_example(provider, model)}"
    return Unpriced(f"the model {provider}/{model} has no price: {why}", provider=provider, model=model, why=why, do=do)


def _example(provider: str, model: str) -> str:
    return f"- {{provider: {provider}, model: {model}, input: 150000, output: 600000}}"


def _complaint(error: ValidationError, at: str) -> BadFile:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return BadFile(f"{field or 'the line'}: {first['msg']}", at=at, do=f"write: {_example('acme', 'model-1')}")
