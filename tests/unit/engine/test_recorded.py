"""Recorded runs are played again: a rule of a published revision does not change unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.engine.recording import FOLDER, event_of, plain
from vertebra.engine.advance import advance
from vertebra.engine.state import EMPTY, from_json, to_json
from vertebra.schemas.graph import CompiledGraph

RECORDED = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_recorded_events_give_the_recorded_commands(file: Path) -> None:
    """Step by step, also when the state goes through a snapshot after every event."""
    recorded = json.loads(file.read_text())
    made = CompiledGraph.model_validate(recorded["graph"])
    state = EMPTY
    for step in recorded["steps"]:
        state, commands = advance(made, from_json(to_json(state)), event_of(step["event"]))

        assert step["commands"] == plain(commands)
    assert "ended" == state.phase


def test_the_recorded_runs_show_something() -> None:
    """They hold forks, holds, blocked nodes, retries and an agent's tool calls."""
    text = "".join(file.read_text() for file in RECORDED)

    assert all(
        f'"{word}"' in text for word in ("HoldOpened", "blocked", "override", "tool_call", "OpenApproval", "Park")
    )
