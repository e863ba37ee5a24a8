from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from vertebra.cli.logs import configure

CANARY = "hunter2-canary"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logs into a text, and the root logger as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    configure("info", written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_one_object(stream: io.StringIO) -> None:
    """A line break in a message ends no line, an error's stack is inside, and locals are not shown."""
    try:
        held = CANARY
        raise ValueError(f"two\nlines of {len(held)}")
    except ValueError:
        structlog.get_logger().error("failed", run="r-1")
        logging.getLogger("x").exception("failed too")

    first, second = lines(stream)

    assert ("failed", "error", "r-1") == (first["event"], first["level"], first["run"])
    assert "exception" in second
    assert CANARY not in stream.getvalue()


def test_a_record_of_temporals_library_names_run_and_node(stream: io.StringIO) -> None:
    """Its long details become the words that people search for."""
    about = {"workflow_id": "r-1", "workflow_type": "shop", "activity_id": "draft#2.1"}
    logging.getLogger("temporalio").warning("Failed ({...})", extra={"temporal_activity": about})

    [found] = lines(stream)

    assert ("Failed", "r-1", "shop", "draft") == (found["event"], found["run"], found["graph"], found["node"])


def test_the_value_of_a_secret_is_hidden(stream: io.StringIO) -> None:
    """Names that hold secrets show that they were there; a count of tokens is no secret."""
    structlog.get_logger().info("x", api_key=CANARY, gate_dsn=CANARY, tokens=7)

    assert CANARY not in stream.getvalue()
    assert 7 == lines(stream)[0]["tokens"]
