"""Graphs tested offline: the real engine and gate over rows in memory, scripted models and people, a clock that jumps.

outcome = await play(Path("."), "customer-support", {"ticket": "Hello", "email": "mia@example.com"})
assert "completed" == outcome.status
"""

from __future__ import annotations

from vertebra.testing.acts import Command, Decision
from vertebra.testing.outcome import Difference, Outcome
from vertebra.testing.reading import read_scenarios
from vertebra.testing.runner import Result, play, run_scenario
from vertebra.testing.scenario import Scenario
from vertebra.testing.tools import ToolAnswer

__all__ = [
    "Command",
    "Decision",
    "Difference",
    "Outcome",
    "Result",
    "Scenario",
    "ToolAnswer",
    "play",
    "read_scenarios",
    "run_scenario",
]
