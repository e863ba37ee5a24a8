"""Lengths of time and amounts of money as people write them on a command line."""

from __future__ import annotations

import re
from decimal import Decimal, DecimalException

import typer

from vertebra.schemas.run import MAX_TOP_UP

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """`90s`, `30m`, `8h`, `7d`."""
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 30m, 8h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def microusd(text: str) -> int:
    """Dollars, exactly, to the millionth."""
    try:
        amount = Decimal(text) * 1_000_000
    except DecimalException:
        amount = Decimal(-1)
    # finite first: NaN cannot be compared, and infinity is no whole number
    if not amount.is_finite() or not 0 < amount <= MAX_TOP_UP or amount != int(amount):
        raise typer.BadParameter(f"{text!r} is no amount of dollars; write 0.50, with at most six decimals")
    return int(amount)
