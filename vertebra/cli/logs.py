"""Logs as JSON lines: one object a line with time, level, event and what it is about; no traceback spans lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from temporalio.exceptions import ApplicationError

_LEVELS = logging.getLevelNamesMapping()
_SECRET = ("password", "secret", "token", "authorization", "api_key", "dsn")
_HIDDEN = "[hidden]"
# without locals: they hold requests, replies and keys
_FRAMES = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=10)
)
_TEMPORAL = ("temporal_activity", "temporal_workflow")


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` (standard error) as JSON lines."""
    number = _LEVELS[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _FRAMES,
        _placed,
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
    activities = logging.getLogger("temporalio.activity")
    activities.filters[:] = [_told]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _told(record: logging.LogRecord) -> bool:
    """What the gate told Temporal is no defect: a hold is news at most, and no such failure needs a traceback."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if isinstance(error, ApplicationError):
        record.exc_info = None
        record.msg = f"{error.type}: {error.message}"
        if error.type == "Hold":
            record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def _placed(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say in our words which run and node a record of Temporal's library is about, instead of its long details."""
    for name in _TEMPORAL:
        about = event.pop(name, None)
        if isinstance(about, dict):
            event.setdefault("run", about.get("workflow_id"))
            event.setdefault("graph", about.get("workflow_type"))
            if activity := about.get("activity_id"):
                event.update(activity=activity, node=activity.rpartition("#")[0])
            event["event"] = str(event.get("event", "")).partition(" ({")[0]
    return event


def _without_secrets(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the values of names that hold secrets."""
    return {
        name: _HIDDEN if any(part in name.lower() for part in _SECRET) and name != "tokens" else value
        for name, value in event.items()
    }
