"""A stretch of time as people ask for it: the last 30 days, or from one time to another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vertebra.schemas.errors import BadInput

_LAST = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_MOST = timedelta(days=3650)
_KEYS = ("last", "from", "to")


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `since` on and before `until`, aware times; None leaves that side open."""

    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, given: Mapping[str, str | datetime], now: datetime) -> TimeRange:
        """`{"last": "30d"}`, or `{"from": TIME, "to": TIME}` with either one left out. Raises BadInput.

        A text without an offset is UTC, and a date alone is its first moment.
        """
        for name in given:
            if name not in _KEYS:
                raise BadInput(
                    f"{name!r} is no part of a time range", do='write {"last": "1h"} or {"from": .., "to": ..}'
                )
        if "last" in given:
            if len(given) > 1:
                raise BadInput("a time range has either 'last' or 'from' and 'to'", do="leave out one of them")
            return cls(since=now - _length(given["last"]))
        since, until = (_time(given[name], name) if name in given else None for name in ("from", "to"))
        if since is not None and until is not None and until <= since:
            raise BadInput("the time range ends before it begins", at="to", do="exchange 'from' and 'to'")
        return cls(since, until)


ALWAYS = TimeRange()


def _length(text: object) -> timedelta:
    match = _LAST.fullmatch(text) if isinstance(text, str) else None
    length = timedelta(seconds=int(match[1]) * _SECONDS[match[2]]) if match else timedelta()
    if not timedelta() < length <= _MOST:
        raise BadInput(
            f"{text!r} is no length of time", at="last", do="write 90s, 30m, 8h, 7d or 4w; ten years at most"
        )
    return length


def _time(given: str | datetime, name: str) -> datetime:
    try:
        time = datetime.fromisoformat(given) if isinstance(given, str) else given
        return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: in UTC it lies before the year 1, or after 9999
        do = "write 2026-01-31, 2026-01-31T09:30 or 2026-01-31T09:30:00+02:00"
        raise BadInput(f"{given!r} is no time", at=name, do=do) from None
