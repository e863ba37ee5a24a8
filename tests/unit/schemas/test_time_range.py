"""Stretches of time as people ask for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vertebra.schemas.audit import timestamp
from vertebra.schemas.errors import BadInput
from vertebra.schemas.time_range import ALWAYS, TimeRange

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h", timedelta(hours=1)),
        ("30d", timedelta(days=30)),
        ("4w", timedelta(days=28)),
    ],
)
def test_the_last_stretch_ends_now(text: str, length: timedelta) -> None:
    """It has no end of its own: what happens while it is asked counts."""
    assert TimeRange(NOW - length, None) == TimeRange.of({"last": text}, NOW)


def test_texts_without_an_offset_are_utc() -> None:
    """A date alone is its first moment."""
    found = TimeRange.of({"from": "2026-01-01", "to": "2026-01-31T09:30:00+02:00"}, NOW)

    assert datetime(2026, 1, 1, tzinfo=UTC) == found.since
    assert datetime(2026, 1, 31, 7, 30, tzinfo=UTC) == found.until
    assert ALWAYS == TimeRange.of({}, NOW)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"last": "0h"}, "no length"),
        ({"last": "9999w"}, "ten years"),
        ({"last": "1h", "to": "2026-01-01"}, "either"),
        ({"from": "yesterday"}, "no time"),
        ({"from": "0001-01-01T00:00:00+10:00"}, "no time"),
        ({"to": "9999-12-31T23:59:59-10:00"}, "no time"),
        ({"since": "1h"}, "no part"),
        ({"from": "2026-02-01", "to": "2026-01-01"}, "ends before"),
    ],
)
def test_wrong_ranges_are_refused(given: dict[str, str], told: str) -> None:
    """Each says what to write."""
    with pytest.raises(BadInput, match=told):
        TimeRange.of(given, NOW)


def test_the_oldest_times_sort_first() -> None:
    """Entries hold their times as texts, which are compared as such."""
    times = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 999, 1000, 2026)]

    assert [timestamp(time) for time in times] == sorted(timestamp(time) for time in times)
