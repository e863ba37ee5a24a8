"""Reads the durations and amounts that authors write: `30d`, `4h`, `60m`, `60s`, `500ms`, `0.50`."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_FORM = re.compile(r"([1-9][0-9]{0,8}|0)(ms|s|m|h|d)")
_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOST_MS = 3650 * 86_400_000
_MICRO = Decimal(1_000_000)

DURATION = "write a whole number and a unit: 500ms, 60s, 15m, 4h, 30d"
MONEY = "write dollars with at most six decimals, such as 0.50"


def milliseconds(text: object) -> int | None:
    """The duration, or None if it is none (zero and more than ten years included)."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    number = int(found.group(1)) * _MS[found.group(2)]
    return number if 0 < number <= _MOST_MS else None


def seconds(text: object) -> int | None:
    """The duration in whole seconds, or None."""
    number = milliseconds(text)
    return None if number is None or number % 1000 else number // 1000


def microusd(amount: object) -> int | None:
    """Dollars as integer micro-dollars, exactly, or None if that is impossible."""
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        return None
    try:
        micro = Decimal(str(amount)) * _MICRO
    except InvalidOperation:
        return None
    if not micro.is_finite() or micro < 0 or micro >= 2**53 or micro != micro.to_integral_value():
        return None
    return int(micro)
