"""How long a vendor asks us to wait, from the headers of its refusal."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def delay_s(headers: Mapping[str, str]) -> float | None:
    """What `retry-after-ms` or `Retry-After` asks for, as seconds or a date; None where it cannot be read."""
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    return _until_s(text) if _is_date(text) else _number(text)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _is_date(text: str) -> bool:
    return "," in text


def _until_s(date: str) -> float | None:
    try:
        return max(parsedate_to_datetime(date).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
