"""Answers of the audit as a spreadsheet reads them."""

from __future__ import annotations

import csv
import io

from vertebra.cli.asking import csv_text


def test_text_that_looks_like_a_formula_stays_text() -> None:
    """What a model or customer wrote is not run by a spreadsheet; numbers stay numbers."""
    text = csv_text(("name", "n"), [("=cmd|' /C calc'!A0", -5), ("@x", None), ('a "quoted", one\nmore', 1)])

    assert [["name", "n"], ["'=cmd|' /C calc'!A0", "-5"], ["'@x", ""], ['a "quoted", one\nmore', "1"]] == list(
        csv.reader(io.StringIO(text))
    )
