"""Prices of models: the operator's own, the shipped list, and none."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from vertebra.ledger import prices
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import Complaints, Unpriced
from vertebra.schemas.money import PriceTable, usd

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NONE = PriceTable()


def test_a_listed_model_has_the_list_price() -> None:
    """Dollars per million tokens become micro-dollars, with all cache classes."""
    price = prices.price_of("anthropic", "claude-sonnet-4-5", NONE, NOW)

    assert (3_000_000, 15_000_000) == (price.input, price.output)
    assert (300_000, 3_750_000) == (price.cache_read, price.cache_write)
    assert (200_000, 6_000_000) == (price.above[0].tokens, price.above[0].input)


def test_the_operators_price_wins() -> None:
    """prices.yaml stands before the list."""
    own = prices.overlay([{"provider": "anthropic", "model": "claude-sonnet-4-5", "input": 1, "output": 2}])

    price = prices.price_of("anthropic", "claude-sonnet-4-5", own, NOW)

    assert (1, 2) == (price.input, price.output)


@pytest.mark.parametrize(
    ("provider", "model"), [("scripted", "small"), ("anthropic", "no-such-model"), ("ollama", "llama3"), ("", "")]
)
def test_an_unpriced_model_is_refused_with_the_line_to_add(provider: str, model: str) -> None:
    """The refusal names the model and the line of prices.yaml that would price it."""
    with pytest.raises(Unpriced) as refused:
        prices.price_of(provider, model, NONE, NOW)

    assert f"{provider}/{model}" in str(refused.value)
    assert f"- {{provider: {provider}, model: {model}, input:" in str(refused.value)


def test_a_model_that_also_charges_by_the_request_is_refused() -> None:
    """A price by tokens alone would not bound it."""
    with pytest.raises(Unpriced, match="by the request"):
        prices.price_of("perplexity", "sonar", NONE, NOW)


def test_prices_are_looked_up_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket is opened."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    assert 250_000 == prices.price_of("openai", "gpt-5-mini", NONE, NOW).input


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ({"provider": "a"}, "a list of lines"),
        ([3], "line 1"),
        ([{"provider": "a", "model": "b", "input": 1}], "output: Field required"),
        ([{"provider": "a", "model": "b", "input": 1.5, "output": 2}], "valid integer"),
        ([{"provider": "a", "model": "b", "input": "1", "output": 2}], "valid integer"),
        ([{"provider": "a", "model": "b", "input": -1, "output": 2}], "greater than or equal to 0"),
        ([{"provider": "a", "model": "b", "input": 1, "output": 2, "inptu": 3}], "inptu"),
        ([{"provider": "a", "model": "b", "input": 1, "output": 2}] * 2, "second price"),
    ],
)
def test_a_bad_prices_file_is_told_by_line(rows: Json, complaint: str) -> None:
    """What is wrong, where, and what to write."""
    with pytest.raises(Complaints, match=complaint):
        prices.overlay(rows)


def test_all_mistakes_are_told_at_once() -> None:
    """Two bad lines give two complaints."""
    with pytest.raises(Complaints) as refused:
        prices.overlay([1, 2])

    assert 2 == len(refused.value.complaints)


def test_a_list_says_nothing_of_other_addresses() -> None:
    """What a vendor asks at its own address is no price elsewhere: there only the operator's counts, also if zero."""
    own = prices.overlay([{"provider": "openai", "model": "gpt-5-mini", "input": 0, "output": 0}])

    with pytest.raises(Unpriced, match="no price list tells what http"):
        prices.price_of("openai", "gpt-5-mini", NONE, NOW, endpoint="http://127.0.0.1:1")
    assert 0 == prices.price_of("openai", "gpt-5-mini", own, NOW, endpoint="http://127.0.0.1:1").input


def test_an_empty_file_prices_nothing() -> None:
    """prices.yaml may be empty."""
    assert NONE == prices.overlay(None)


def test_the_digest_of_a_table_does_not_depend_on_order() -> None:
    """A graph pins which prices there are, not how they were written down."""
    named = [("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5-mini")]
    one = PriceTable(prices=tuple(prices.price_of(provider, model, NONE, NOW) for provider, model in named))
    other = PriceTable(prices=one.prices[::-1])

    assert one.digest == other.digest
    assert one.digest != PriceTable(prices=one.prices[:1]).digest


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (1, "$0.000001"), (1_500_000, "$1.50"), (-250_000, "-$0.25"), (1_234_567, "$1.234567")],
)
def test_money_is_written_for_people(amount: int, text: str) -> None:
    """At least two decimals, never rounded."""
    assert text == usd(amount)
