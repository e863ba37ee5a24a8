"""Recorded histories of real runs replay on this code, in the real workflow sandbox, without a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from vertebra.workers.plugin import plugin

HISTORIES = sorted((Path(__file__).parents[2] / "histories").glob("*/*.json"))


def history_of(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_recorded_history_replays(path: Path) -> None:
    """The shell and the engine give the commands that are recorded, event for event."""
    replayer = Replayer(workflows=[], plugins=[plugin()])

    result = await replayer.replay_workflow(history_of(path), raise_on_replay_failure=False)

    assert result.replay_failure is None


async def test_a_changed_command_is_noticed() -> None:
    """Replay is no formality: a history whose activity has another type does not pass."""
    path = next(path for path in HISTORIES if path.stem == "answered")
    text = path.read_text(encoding="utf-8").replace('"name": "llm"', '"name": "other"')
    assert text != path.read_text(encoding="utf-8")
    replayer = Replayer(workflows=[], plugins=[plugin()])

    result = await replayer.replay_workflow(WorkflowHistory.from_json("changed", text), raise_on_replay_failure=False)

    assert result.replay_failure is not None


async def test_a_run_imports_no_module() -> None:
    """What a run needs is passed through the sandbox: the second run of a process imports nothing."""
    path = next(path for path in HISTORIES if path.stem == "answered")
    replayer = Replayer(workflows=[], plugins=[plugin()])
    await replayer.replay_workflow(history_of(path))
    before = set(sys.modules)

    await replayer.replay_workflow(history_of(path))

    assert before == set(sys.modules)


def test_every_release_has_histories() -> None:
    """There is something to replay, and it is JSON as Temporal writes it."""
    assert 8 <= len(HISTORIES)
    assert all("events" in json.loads(path.read_text(encoding="utf-8")) for path in HISTORIES)
