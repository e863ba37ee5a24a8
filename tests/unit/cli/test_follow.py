"""The live table of runs at the widths that screens have."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from vertebra.cli.follow import Follower
from vertebra.cli.output import Output

NOW = datetime(2026, 1, 31, tzinfo=UTC)
RUNS = [f"customer-support-01M8FJVTD6QF4K9DEEGSFX{end:04}" for end in range(3)]


async def _never(run: str) -> str | None:
    return None


def drawn(width: int, node: str = "classify") -> list[str]:
    """The lines of the table on a screen of this width."""
    follower = Follower(RUNS, Output(as_json=False), _never)
    for run in RUNS[:2]:
        follower.rows[run] = {
            "state": "awaiting_human", "node": node, "done": 12, "spent_microusd": 1_000_057, "told": False,
            "events": [],
            "started_at": NOW - timedelta(seconds=75), "ended_at": None, "now": NOW,
        }  # fmt: skip
    screen = io.StringIO()
    console = Console(file=screen, width=width, height=20)
    console.print(follower._table(RUNS, console))
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 140])
def test_ids_keep_the_end_that_tells_them_apart(width: int) -> None:
    """However narrow the screen, each run has one line that ends its id, and its whole state."""
    lines = drawn(width)

    assert 1 + len(RUNS) == len(lines)
    for number, line in enumerate(lines[1:]):
        assert line.split()[0].endswith(f"{number:04}"), line
        assert len(line) <= width
    assert ["awaiting_human", "awaiting_human", "starting"] == [line.split()[1] for line in lines[1:]]


def test_figures_make_room_on_narrow_screens() -> None:
    """All of them where they fit, the cost longest."""
    heads = {width: drawn(width)[0].split() for width in (80, 58, 40)}

    assert ["RUN", "STATE", "AT", "DONE", "COST", "TIME"] == heads[80]
    assert ["RUN", "STATE", "AT", "COST"] == heads[58][:4]
    assert ["RUN", "STATE", "AT"] == heads[40]
    assert "$1.000057" in drawn(58)[1]


def listening(state: str, events: list[str]) -> Follower:
    follower = Follower(RUNS[:1], Output(as_json=False), _never)
    follower.rows[RUNS[0]] = {
        "id": RUNS[0], "state": state, "node": "pay", "done": 1, "spent_microusd": 0, "told": False, "events": events,
        "started_at": NOW, "ended_at": None, "now": NOW, "error": None, "approvals": ["a1"], "blocked": [],
    }  # fmt: skip
    return follower


def test_a_run_that_waits_for_an_event_says_how_it_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is asked, so the line that is printed names the event and the command; on a terminal it stands below."""
    told = f"waits for event paid: vertebra send {RUNS[0]} paid"
    follower = listening("running", ["paid"])

    for _ in range(2):
        follower._lines()
    screen = io.StringIO()
    console = Console(file=screen, width=140, height=20)
    console.print(follower._table(RUNS[:1], console))

    assert [f"{RUNS[0]}  running  at pay  {told}"] == capsys.readouterr().out.splitlines()
    assert told in screen.getvalue()


def test_so_does_one_that_waits_for_a_person_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Of another branch."""
    listening("awaiting_human", ["paid", "shipped"])._lines()

    said = capsys.readouterr().out
    assert "approval a1" in said
    assert f"waits for event shipped: vertebra send {RUNS[0]} shipped" in said
