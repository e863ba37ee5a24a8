"""Amounts of money as people write them on a command line."""

from __future__ import annotations

import pytest
import typer

from vertebra.cli.durations import microusd


@pytest.mark.parametrize(("text", "expected"), [("0.50", 500_000), ("0.000001", 1), ("1000000", 10**12)])
def test_an_amount_is_read_exactly(text: str, expected: int) -> None:
    """Dollars become whole millionths."""
    assert expected == microusd(text)


@pytest.mark.parametrize(
    "text", ["", "x", "0", "-1", "0.0000001", "1000000.01", "nan", "snan", "inf", "-inf", "1e999999", "1e-999999"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Neither a text that is no number nor a number that is no amount is a defect of ours."""
    with pytest.raises(typer.BadParameter, match="is no amount of dollars"):
        microusd(text)
