"""What a call may cost at most, what it did cost, and whether that fits: pure, in integers of micro-USD.

The bound holds without a tokenizer: a token is at least one byte, so the request's UTF-8 bytes bound its tokens. Costs
are rounded up once per call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vertebra.schemas.graph import Breach
from vertebra.schemas.llm import ModelRequest
from vertebra.schemas.money import MicroUSD, Price, Rates, Usage, usd

PER_MILLION = 1_000_000
MESSAGE_ALLOWANCE = 16
"""Tokens that a vendor adds around each message and tool, beside our own JSON around them."""
TOOLS_ALLOWANCE = 1_024
"""Tokens of the vendor's own instructions once tools are offered (Anthropic documents up to 804)."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that one call may cost. The vendor is given the same `output_tokens` as its cap."""

    input_tokens: int
    output_tokens: int
    microusd: MicroUSD

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call is booked at. `estimated`: the vendor told us nothing usable, so bytes were counted instead."""

    microusd: MicroUSD
    tokens: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class Allowance:
    """A limit and what of it is gone; a limit of None bounds nothing."""

    limit: int | None
    spent: int
    held: int

    def fits(self, amount: int) -> bool:
        """Whether this much may still be held. Nothing at all always may."""
        return amount == 0 or self.limit is None or self.spent + self.held + amount <= self.limit


@dataclass(frozen=True, slots=True)
class OverBudget:
    """The call is not made. `action` is what the spine says must follow."""

    of: Literal["money", "tokens"]
    action: Breach
    reason: str


Verdict: TypeAlias = OverBudget | None
"""None: it fits."""


def bound_of(request: ModelRequest, price: Price) -> Bound:
    """The upper bound of a request to a model, at the dearest class of its price."""
    allowance = MESSAGE_ALLOWANCE * (len(request.messages) + len(request.tools) + 1)
    allowance += TOOLS_ALLOWANCE if request.tools else 0
    return bound(len(request.canonical) + allowance, request.max_output_tokens, price)


def bound(input_tokens: int, output_tokens: int, price: Price) -> Bound:
    """The cost of that many tokens, whatever class the vendor may count them in."""
    rates = [price, *(step for step in price.above if input_tokens > step.tokens)]
    dearest_input = max(max(_input_rates(rate)) for rate in rates)
    dearest_output = max(rate.output for rate in rates)
    return Bound(
        input_tokens, output_tokens, _rounded_up(input_tokens * dearest_input + output_tokens * dearest_output)
    )


def cost_of(usage: Usage, price: Price) -> MicroUSD:
    """What the reported tokens cost: each class at its own rate, rounded up once."""
    rates = rates_for(price, usage.prompt)
    read = rates.input if rates.cache_read is None else rates.cache_read
    write = rates.input if rates.cache_write is None else rates.cache_write
    return _rounded_up(
        usage.input * rates.input + usage.cache_read * read + usage.cache_write * write + usage.output * rates.output
    )


def settle(usage: Usage, price: Price, bound: Bound, reply_bytes: int) -> Cost:
    """What a reply is booked at. A reply that claims to have used nothing is never free.

    No prompt tokens: the bound's input is booked. No output tokens for a reply that has bytes: its bytes, at most the
    output cap. More than the bound is booked as reported: the books say what was spent.
    """
    mute = usage.prompt == 0
    silent = usage.output == 0 and reply_bytes > 0
    if not (mute or silent):
        return Cost(cost_of(usage, price), usage.tokens, estimated=False)
    output = min(reply_bytes, bound.output_tokens) if silent else usage.output
    if mute:
        priced = _dearest(bound.input_tokens, output, price)
        return Cost(priced, bound.input_tokens + output, estimated=True)
    counted = usage.model_copy(update={"output": output})
    return Cost(cost_of(counted, price), counted.tokens, estimated=True)


def rates_for(price: Price, prompt_tokens: int) -> Rates:
    """The rates of a prompt of that length: the highest threshold that it passes counts for all its tokens."""
    passed = [step for step in price.above if prompt_tokens > step.tokens]
    return passed[-1] if passed else price


def dearer(pinned: Price, today: Price) -> Price:
    """The higher of two prices, class by class: what to reserve with when a price rose after a graph was published."""
    steps = {step.tokens: step for step in (*pinned.above, *today.above)}
    above = [
        step.model_copy(update=_higher(rates_for(pinned, tokens + 1), rates_for(today, tokens + 1)))
        for tokens, step in sorted(steps.items())
    ]
    return pinned.model_copy(update={**_higher(pinned, today), "above": tuple(above)})


def judge(money: Allowance, tokens: Allowance, bound: Bound, on_breach: Breach) -> Verdict:
    """Whether a call of this bound fits both limits; if not, why, with usage and cap."""
    if not money.fits(bound.microusd):
        gone = f"{usd(money.spent)} spent and {usd(money.held)} held of {usd(money.limit or 0)}"
        return OverBudget("money", on_breach, f"the call may cost up to {usd(bound.microusd)}; {gone}")
    if not tokens.fits(bound.tokens):
        gone = f"{tokens.spent} spent and {tokens.held} held of {tokens.limit}"
        return OverBudget("tokens", on_breach, f"the call may use up to {bound.tokens} tokens; {gone}")
    return None


def _dearest(input_tokens: int, output_tokens: int, price: Price) -> MicroUSD:
    return bound(input_tokens, output_tokens, price).microusd


def _input_rates(rates: Rates) -> tuple[int, ...]:
    return (rates.input, rates.cache_read or 0, rates.cache_write or 0)


def _higher(one: Rates, other: Rates) -> dict[str, int | None]:
    higher: dict[str, int | None] = {"input": max(one.input, other.input), "output": max(one.output, other.output)}
    for name in ("cache_read", "cache_write"):
        given = [rate for rate in (getattr(one, name), getattr(other, name)) if rate is not None]
        # a class that only one of the two prices still costs at least `input` of the other
        higher[name] = max([*given, one.input, other.input] if len(given) == 1 else given, default=None)
    return higher


def _rounded_up(total: int) -> MicroUSD:
    return MicroUSD(-(-total // PER_MILLION))
