"""Bounds, costs and breaches in integers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertebra.policies import budget
from vertebra.policies.budget import Allowance, Bound, OverBudget
from vertebra.schemas.llm import ModelRequest, UserMessage
from vertebra.schemas.money import MicroUSD, Price, PriceStep, Rates, Usage

SMALL = Price(provider="scripted", model="small", input=150_000, output=600_000)
TIERED = Price(
    provider="acme",
    model="long",
    input=3_000_000,
    output=15_000_000,
    cache_read=300_000,
    cache_write=3_750_000,
    above=(PriceStep(tokens=200_000, input=6_000_000, output=22_500_000, cache_read=600_000, cache_write=7_500_000),),
)

tokens = st.integers(0, 400_000)
rate = st.integers(0, 50_000_000)
rates = st.builds(Rates, input=rate, output=rate, cache_read=st.none() | rate, cache_write=st.none() | rate)
steps = st.builds(
    lambda rates, tokens: PriceStep(tokens=tokens, **rates.model_dump()), rates, st.integers(1_000, 300_000)
)
prices = st.builds(
    lambda rates, steps: Price(
        provider="p", model="m", above=tuple(sorted(steps, key=lambda step: step.tokens)), **rates.model_dump()
    ),
    rates,
    st.lists(steps, max_size=2, unique_by=lambda step: step.tokens),
)
usages = st.builds(Usage, input=tokens, cache_read=tokens, cache_write=tokens, output=tokens)


def exact(usage: Usage, price: Price) -> Fraction:
    """The cost by fractions, written apart from the code under test."""
    row: Rates = price
    for step in price.above:
        if usage.prompt > step.tokens:
            row = step
    read = row.cache_read if row.cache_read is not None else row.input
    write = row.cache_write if row.cache_write is not None else row.input
    total = usage.input * row.input + usage.cache_read * read + usage.cache_write * write + usage.output * row.output
    return Fraction(total, 1_000_000)


@given(usages, prices)
def test_a_cost_is_the_exact_price_rounded_up_once(usage: Usage, price: Price) -> None:
    """No call is booked below its price, nor a whole micro-dollar above it."""
    cost = budget.cost_of(usage, price)

    assert 0 <= cost - exact(usage, price) < 1


@given(usages, prices, st.integers(0, 5_000), st.integers(0, 5_000))
def test_no_usage_within_the_bound_costs_more(usage: Usage, price: Price, more_in: int, more_out: int) -> None:
    """Whatever class the vendor counts the tokens in, the reservation covers them."""
    bound = budget.bound(usage.prompt + more_in, usage.output + more_out, price)

    assert budget.cost_of(usage, price) <= bound.microusd
    assert usage.tokens <= bound.tokens


@given(usages, prices, st.integers(0, 100_000))
def test_a_settlement_is_never_below_what_was_reported(usage: Usage, price: Price, reply_bytes: int) -> None:
    """Estimates replace zeros only, they never make a call cheaper than the vendor said."""
    bound = budget.bound(usage.prompt or 1_000, max(usage.output, 1), price)

    settled = budget.settle(usage, price, bound, reply_bytes)

    assert settled.microusd >= budget.cost_of(usage, price)
    assert settled.tokens >= usage.tokens


def test_a_cheap_token_costs_a_whole_micro_dollar() -> None:
    """One token at 0.15 micro-dollars is booked as 1."""
    assert MicroUSD(1) == budget.cost_of(Usage(input=1), SMALL)


def test_zero_usage_is_booked_at_the_bound() -> None:
    """A reply that claims to have used nothing costs its request's bytes and its own."""
    bound = Bound(1_000, 2_048, MicroUSD(0))

    settled = budget.settle(Usage(), SMALL, bound, reply_bytes=500)

    assert budget.Cost(MicroUSD(450), 1_500, estimated=True) == settled


def test_missing_output_tokens_are_counted_by_bytes() -> None:
    """A reply of 500 bytes without output tokens is booked at 500 of them, its prompt as reported."""
    settled = budget.settle(Usage(input=100), SMALL, Bound(1_000, 2_048, MicroUSD(0)), reply_bytes=500)

    assert budget.Cost(MicroUSD(315), 600, estimated=True) == settled


def test_an_estimate_of_the_output_ends_at_the_cap() -> None:
    """The vendor was given the cap, so a reply of more bytes cannot hold more tokens."""
    settled = budget.settle(Usage(input=100), SMALL, Bound(1_000, 50, MicroUSD(0)), reply_bytes=500)

    assert 150 == settled.tokens


def test_usage_above_the_bound_is_booked_as_reported() -> None:
    """The books say what was spent, even where the vendor broke its cap."""
    settled = budget.settle(Usage(input=10, output=5_000), SMALL, Bound(100, 50, MicroUSD(45)), reply_bytes=9_000)

    assert budget.Cost(MicroUSD(3_002), 5_010, estimated=False) == settled


@pytest.mark.parametrize(("prompt", "microusd"), [(200_000, 600_000), (200_001, 1_200_006)])
def test_a_long_prompt_costs_the_higher_rate_for_all_its_tokens(prompt: int, microusd: int) -> None:
    """A threshold is a cliff: the token past it reprices the whole prompt."""
    assert microusd == budget.cost_of(Usage(input=prompt), TIERED)


def test_the_bound_counts_the_dearest_input_class() -> None:
    """Tokens may be counted as cache writes, so they are reserved as such."""
    assert MicroUSD(3_750) == budget.bound(1_000, 0, TIERED).microusd


def test_the_bound_of_a_request_is_at_least_its_bytes() -> None:
    """A token is at least one byte, in any alphabet."""
    request = ModelRequest(provider="scripted", model="small", messages=(UserMessage(text="Grüße 你好" * 100),))

    bound = budget.bound_of(request, SMALL)

    assert bound.input_tokens > len(request.canonical)
    assert request.max_output_tokens == bound.output_tokens


@given(prices, prices, usages)
def test_the_dearer_of_two_prices_covers_both(one: Price, other: Price, usage: Usage) -> None:
    """A reservation with the higher rates covers the pinned price and today's."""
    dearer = budget.dearer(one, other)

    assert budget.cost_of(usage, dearer) >= max(budget.cost_of(usage, one), budget.cost_of(usage, other))


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_what_fits_never_passes_the_limit(limit: int, spent: int, held: int, amount: int) -> None:
    """A reservation that fits leaves spent and held within the limit; nothing at all always fits."""
    fits = Allowance(limit, spent, held).fits(amount)

    assert fits == (amount == 0 or spent + held + amount <= limit)


def test_a_breach_names_usage_and_cap() -> None:
    """The refusal says what the call may cost, what is spent, held and allowed."""
    verdict = budget.judge(
        Allowance(500_000, 450_000, 40_000), Allowance(None, 0, 0), Bound(10, 10, MicroUSD(12_345)), "pause"
    )

    assert (
        OverBudget("money", "pause", "the call may cost up to $0.012345; $0.45 spent and $0.04 held of $0.50")
        == verdict
    )


def test_tokens_have_a_limit_of_their_own() -> None:
    """A call that fits the money may still pass the token cap."""
    verdict = budget.judge(Allowance(None, 0, 0), Allowance(100, 50, 31), Bound(10, 10, MicroUSD(5)), "abort")

    assert OverBudget("tokens", "abort", "the call may use up to 20 tokens; 50 spent and 31 held of 100") == verdict


def test_without_limits_everything_fits() -> None:
    """A spine without a budget refuses nothing."""
    assert budget.judge(Allowance(None, 9, 9), Allowance(None, 9, 9), Bound(10, 10, MicroUSD(5)), "reject") is None
