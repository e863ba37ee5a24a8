"""How the Temporal server is started, and which data it opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vertebra.schemas.errors import ForeignData
from vertebra.services import temporal
from vertebra.services.ports import Ports

_PORTS = Ports(postgres=1, temporal=2, temporal_ui=3, temporal_metrics=4)


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A state folder with a database that was once ready."""
    server = temporal.open_or_create(tmp_path, Path("/t"), web_ui=True)
    server.database.write_bytes(b"SQLite format 3\0 and more")
    temporal.mark_complete(server)
    return tmp_path


def test_the_server_starts_tuned(tmp_path: Path) -> None:
    """The settings that make a dispatch take 8 ms instead of 50 stand in the command."""
    words = " ".join(temporal.open_or_create(tmp_path, Path("/t"), web_ui=True).argv(_PORTS))

    assert "--ip 127.0.0.1 --port 2 --ui-port 3 --metrics-port 4" in words
    assert "history.transferProcessorMaxPollRPS=2000" in words
    assert "matching.numTaskqueueReadPartitions=1" in words
    assert "--sqlite-pragma journal_mode=wal --sqlite-pragma synchronous=normal" in words
    assert "--search-attribute VtReviewers=KeywordList" in words


def test_without_its_pages(tmp_path: Path) -> None:
    """The Web UI may be left out."""
    words = temporal.open_or_create(tmp_path, Path("/t"), web_ui=False).argv(_PORTS)

    assert "--headless" in words
    assert "--ui-port" not in words


def test_a_used_database_is_opened_again(used: Path) -> None:
    """A second start takes the data of the first."""
    assert used / "temporal" / "temporal.db" == temporal.open_or_create(used, Path("/t"), web_ui=True).database


@pytest.mark.parametrize("damage", ["missing", "other", "empty", "foreign", "newer"])
def test_damaged_data_are_refused_and_kept(used: Path, damage: str) -> None:
    """What is not our database is neither opened nor changed."""
    home = used / "temporal"
    match damage:
        case "missing":
            (home / "temporal.db").unlink()
        case "other":
            (home / "temporal.db").write_bytes(b"PK\3\4")
        case "empty":
            (home / "temporal.db").write_bytes(b"")
        case "foreign":
            (home / "format.json").unlink()
        case _:
            (home / "format.json").write_text(json.dumps({"format": 2, "complete": True}))
    before = {file.name: file.read_bytes() for file in home.iterdir()}

    with pytest.raises(ForeignData, match=str(home)):
        temporal.open_or_create(used, Path("/t"), web_ui=True)

    assert before == {file.name: file.read_bytes() for file in home.iterdir()}


def test_an_unfinished_first_start_is_set_aside(tmp_path: Path) -> None:
    """A server killed while it made its first tables does not stop the next, and nothing is deleted."""
    server = temporal.open_or_create(tmp_path, Path("/t"), web_ui=True)
    server.database.write_bytes(b"half")

    temporal.open_or_create(tmp_path, Path("/t"), web_ui=True)

    assert not server.database.exists()
    assert b"half" == (tmp_path / "temporal" / "unfinished-1" / "temporal.db").read_bytes()
