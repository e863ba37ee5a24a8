"""The laptop's Temporal: the CLI's development server over a database file, started tuned."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from vertebra.services import folder
from vertebra.services.ports import LOOPBACK, Ports

NAMESPACE = "default"
SEARCH_ATTRIBUTES = {
    "VtTenant": "Keyword",
    "VtState": "Keyword",
    "VtGraph": "Keyword",
    "VtReviewers": "KeywordList",
    "VtDue": "Datetime",
}
_FOLDER = "temporal"
_FILE = "temporal.db"
_PROBE_TIMEOUT_S = 5.0
_SQLITE = b"SQLite format 3\0"
# the stock server looks at its queues 20 times a second: each dispatch then waits for a grid of 50 ms
TUNING = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    # a deleted history is gone once three queues have noted how far they are: stock 33 s after it was asked, so at once
    'history.visibilityProcessorUpdateAckInterval="1s"',
    'history.transferProcessorUpdateAckInterval="1s"',
    'history.timerProcessorUpdateAckInterval="1s"',
)
_PRAGMAS = ("journal_mode=wal", "synchronous=normal")


@dataclass(frozen=True)
class Server:
    """A binary with the database file that it serves."""

    cli: Path
    database: Path
    web_ui: bool

    def argv(self, ports: Ports) -> tuple[str, ...]:
        """The server in the foreground."""
        words = [str(self.cli), "server", "start-dev", "--ip", LOOPBACK, "--port", str(ports.temporal)]
        words += ["--ui-port", str(ports.temporal_ui)] if self.web_ui else ["--headless"]
        words += ["--metrics-port", str(ports.temporal_metrics), "--db-filename", str(self.database)]
        words += ["--log-level", "error", "--color", "never", "--disable-config-file", "--disable-config-env"]
        words += [word for value in TUNING for word in ("--dynamic-config-value", value)]
        words += [word for pragma in _PRAGMAS for word in ("--sqlite-pragma", pragma)]
        words += [word for name, kind in SEARCH_ATTRIBUTES.items() for word in ("--search-attribute", f"{name}={kind}")]
        return tuple(words)


def open_or_create(state: Path, cli: Path, *, web_ui: bool) -> Server:
    """The server over this state folder's database. Raises ForeignData."""
    home = state / _FOLDER
    database = home / _FILE
    if not home.exists():
        home.mkdir(mode=0o700)
        folder.write_marker(home, complete=False)
    folder.check_owner(home)
    complete = folder.read_marker(home).get("complete") is True
    if complete:
        _check(home, database)
    elif database.exists():
        _set_aside(home)
    return Server(cli, database, web_ui)


def mark_complete(server: Server) -> None:
    """Say that the database was once ready: from now on it may hold runs."""
    folder.write_marker(server.database.parent, complete=True)


async def is_ready(address: str) -> bool:
    """Whether the namespace answers and knows our search attributes."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            client = await Client.connect(address, namespace=NAMESPACE)
            known = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=NAMESPACE)
            )
    except (RPCError, RuntimeError, TimeoutError):  # the core says RuntimeError where nobody listens
        return False
    return set(SEARCH_ATTRIBUTES) <= set(known.custom_attributes)


def _check(home: Path, database: Path) -> None:
    try:
        with database.open("rb") as file:
            head = file.read(len(_SQLITE))
    except FileNotFoundError:
        raise folder.foreign(home, f"its {_FILE} is missing") from None
    if head != _SQLITE:
        raise folder.foreign(home, f"its {_FILE} is damaged: it is no SQLite database")


def _set_aside(home: Path) -> None:
    """Move away what a first start left that never became ready: it holds no runs, and no server can open it."""
    number = 1
    while (home / f"unfinished-{number}").exists():
        number += 1
    aside = home / f"unfinished-{number}"
    aside.mkdir()
    for file in sorted(home.glob(f"{_FILE}*")):
        os.rename(file, aside / file.name)
