"""Plays a graph, or a scenario that was read, and tells what became of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from vertebra.boundary.cel_child import CelChild
from vertebra.compiler import AgentGraph
from vertebra.engine.state import path, waits
from vertebra.providers.reply_files import read_replies
from vertebra.schemas.canonical import Json
from vertebra.schemas.ids import RunId
from vertebra.schemas.run import RunState
from vertebra.testing.acts import Acts, Command, Decision
from vertebra.testing.outcome import Difference, Outcome, differences
from vertebra.testing.play import Play
from vertebra.testing.scenario import Scenario
from vertebra.testing.stage import Stage, staged
from vertebra.testing.tools import ToolAnswer
from vertebra.workers.gate.audit import OPERATIONS

MAIL = "send_email"
WAITS = {
    "approval": "a decision: approvals",
    "top_up": "more budget: commands, top_up",
    "renewal": "rights that have expired: commands, renew",
    "event": "an event: commands, event",
}
"""What a run that nobody does anything about waits for, and where a scenario would say it."""


@dataclass(frozen=True, slots=True)
class Result:
    """A scenario that was played. `differences` is empty where everything came as expected."""

    scenario: Scenario
    outcome: Outcome
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        return not self.differences


async def run_scenario(scenario: Scenario, cel: CelChild | None = None) -> Result:
    """Play a scenario and compare. `cel`: the child that evaluates conditions, to share one between plays.

    Raises BadInput for an input that the graph refuses.
    """
    acts = Acts.of(scenario.decisions, scenario.commands)
    async with _cel(cel) as child, _stage(scenario, child) as stage:
        outcome = await _played(stage, RunId(scenario.name), scenario.input, acts)
    found = differences(scenario.expect, outcome)
    left = [Difference("acts that nobody waited for", [], list(acts.left()))] if acts.left() else []
    refused = [Difference("refused or missing", [], list(outcome.notes))] if outcome.spoilt else []
    return Result(scenario, outcome, (*found, *left, *refused))


async def play(
    project: Path,
    graph: str | Path | AgentGraph,
    given: Json,
    *,
    replies: Mapping[str, JsonValue] | None = None,
    tools: Mapping[str, Sequence[ToolAnswer]] | None = None,
    approvals: Mapping[str, Sequence[Decision]] | None = None,
    commands: Sequence[Command] = (),
    cel: CelChild | None = None,
) -> Outcome:
    """Play one run of a project's graph with this input, offline, to its end or until nobody does anything more.

    `graph`: a name, a file, or a graph of Python. `replies`: node to the entries of a reply file, in place of the
    project's own for this node. Raises Complaints, NotFound, BadInput.
    """
    said: dict[str, Json] = {**read_replies(project / "replies"), **(replies or {})}
    acts = Acts.of(approvals or {}, commands)
    async with _cel(cel) as child, staged(project, graph, replies=said, tools=tools, cel=child) as stage:
        return await _played(stage, RunId("play"), given, acts)


@asynccontextmanager
async def _cel(given: CelChild | None) -> AsyncIterator[CelChild]:
    if given is not None:
        yield given
        return
    async with CelChild() as own:
        yield own


@asynccontextmanager
async def _stage(scenario: Scenario, cel: CelChild) -> AsyncIterator[Stage]:
    async with staged(
        scenario.project, scenario.compiled, replies=scenario.replies, tools=scenario.tools, cel=cel
    ) as stage:
        yield stage


async def _played(stage: Stage, run: RunId, given: Json, acts: Acts) -> Outcome:
    one = Play(stage, run, acts)
    await one.run(given)
    finish = one.finish
    row = stage.pool.rows.get("runs", run)
    assert row is not None
    shown: RunState = one.state.shown
    blocked = {ask.node: ask.error for ask in waits(one.state) if ask.error is not None}
    errors = [f"{node}: {error.type}: {error.message}" for node, error in blocked.items()]
    open_ = waits(one.state) if finish is None else ()
    errors += [f"{ask.node}: waits for {WAITS[ask.kind]}" for ask in open_ if ask.kind in WAITS]
    if finish is not None and finish.error is not None:
        errors.append(f"{finish.error.type}: {finish.error.message}")
    missing = stage.bench.missing
    return Outcome(
        status=shown if finish is None else finish.end,
        path=tuple(node for node, _, _ in path(one.state)),
        output=None if finish is None else finish.output,
        cost_microusd=row["spent_microusd"],
        audit=operations(row["body"] for row in stage.pool.rows.of("audit", stream=run)),
        mails=tuple(call.arguments for call in stage.bench.effects(MAIL)),
        tools=dict(sorted(Counter(tool for tool, _ in stage.bench.distinct()).items())),
        blocked={node: error.type for node, error in blocked.items()},
        error=finish.error.type if finish is not None and finish.error is not None else None,
        notes=(*one.troubles, *missing, *errors),
        spoilt=bool(one.troubles or missing),
        seconds=int(stage.clock.elapsed()),
    )


def operations(bodies: Iterable[bytes]) -> dict[str, int]:
    """Of the entries of a run: the outcomes of effects, and all entries of everything else, by operation."""
    effects, counts = set(OPERATIONS.values()), Counter[str]()
    for text in bodies:
        body = json.loads(text)
        if body["operation"] not in effects or body["phase"] == "outcome":
            counts[body["operation"]] += 1
    return dict(sorted(counts.items()))
