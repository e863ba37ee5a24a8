"""Durations and amounts of money, exactly."""

from __future__ import annotations

import pytest

from vertebra.compiler.durations import microusd, milliseconds, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 500), ("60s", 60_000), ("60m", 3_600_000), ("4h", 14_400_000), ("30d", 2_592_000_000)],
)
def test_a_number_and_a_unit_make_a_duration(text: str, expected: int) -> None:
    """Each unit of the language is read."""
    assert expected == milliseconds(text)


@pytest.mark.parametrize(
    "text", ["", "60", "1.5h", "-1s", "0s", "h", "1 h", "01s", "4000d", "1w", "٣s", 60, None, "1h\n"]
)
def test_anything_else_is_no_duration(text: object) -> None:
    """Other texts, zero, and more than ten years give nothing."""
    assert None is milliseconds(text)


def test_seconds_are_whole() -> None:
    """Half a second is no duration where seconds are counted."""
    assert (2, None) == (seconds("2000ms"), seconds("500ms"))


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0.5, 500_000), (0.1, 100_000), (1, 1_000_000), ("0.000001", 1), (0.3, 300_000), (50.0, 50_000_000), (0, 0)],
)
def test_money_is_exact(amount: object, expected: int) -> None:
    """Dollars become micro-dollars without rounding."""
    assert expected == microusd(amount)


@pytest.mark.parametrize("amount", [-1, 0.0000001, True, "many", "NaN", "Infinity", 1e12, None, [1]])
def test_other_amounts_are_refused(amount: object) -> None:
    """Negative, too fine, too large and unreadable amounts give nothing."""
    assert None is microusd(amount)
