"""Waits of a graph in a play: hours pass in no time, events come when the scenario says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vertebra.testing import Command, Outcome, play, read_scenarios, run_scenario

HELLO = Path(__file__).parents[3] / "vertebra/templates/hello-world"
GRAPH = """\
graph: patient
version: 1.0.0
spine: {permissions: [execute_tools], expires_in: 7d, budget: {usd: 0.01, tokens: 1000}}
nodes:
  rest: {type: wait, for: 3h}
  paid: {type: wait, event: paid, expires_in: 2d, on_error: forget}
  forget: {type: rules, default: {ok: {value: false}}}
edges: [rest -> paid]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a graph that waits."""
    shutil.copytree(HELLO, tmp_path / "project")
    (tmp_path / "project/graphs/patient.yaml").write_text(GRAPH, encoding="utf-8")
    return tmp_path / "project"


async def played(project: Path, *commands: Command) -> Outcome:
    return await play(project, "patient", {}, commands=commands)


async def test_a_wait_passes_and_an_event_comes(project: Path) -> None:
    """Three hours of rest, and an hour until the event."""
    outcome = await played(project, Command("event", arguments={"event": "paid", "payload": {}}, after_s=3600))

    assert ("completed", ("rest", "paid")) == (outcome.status, outcome.path)
    assert 4 * 3600 <= outcome.seconds <= 4 * 3600 + 2
    assert 1 == outcome.audit["event_taken"]


async def test_an_event_that_does_not_come_takes_the_way_out(project: Path) -> None:
    """After two days the node fails, and its `on_error` goes on."""
    outcome = await played(project)

    assert ("completed", ("rest", "paid", "forget")) == (outcome.status, outcome.path)
    assert 2 * 86_400 + 3 * 3600 <= outcome.seconds


async def test_a_scenario_sends_an_event(project: Path) -> None:
    """`{event: NAME}` among the commands."""
    text = (
        "scenario: paid\ngraph: patient\ninput: {}\ncommands: [{event: paid, after: 1h}]\nexpect: {status: completed}\n"
    )
    (project / "tests/paid.yaml").write_text(text, encoding="utf-8")
    [scenario] = read_scenarios(project, "paid")

    assert (await run_scenario(scenario)).ok
