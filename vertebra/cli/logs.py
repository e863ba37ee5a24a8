"""Logs as JSON lines: one object a line with time, level, event and what it is about; no traceback spans lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

_LEVELS = logging.getLevelNamesMapping()
_SECRET = ("password", "secret", "token", "authorization", "api_key", "dsn")
_HIDDEN = "[hidden]"


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` (standard error) as JSON lines."""
    number = _LEVELS[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.dict_tracebacks,
        _without_secrets,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _without_secrets(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the values of names that hold secrets."""
    return {
        name: _HIDDEN if any(part in name.lower() for part in _SECRET) and name != "tokens" else value
        for name, value in event.items()
    }
