"""A worker that stalls past its heartbeat and comes back: two attempts of one call, one answer, each paid for once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from tests.faults.accounts import check_accounts
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.transaction import Row

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(480)]

STALLS = """
graph: stalls
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, tokens: 100000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  stalled: {agent: speaker, input: {text: input.text}, write: {said: text}}
"""
ONE_CALL = {"VERTEBRA_LIMITS__EFFECTS": "1"}
"""The stalled call takes the worker's only place: else Temporal would give calls to one that stands still."""
LATER: list[Json] = [{"reply": "said after all", "delay": "9s"}]
"""Time to stop the worker, or to wake it, while its call or the other's is under way; less than a heartbeat's 10 s."""
AT_ONCE: list[Json] = [{"reply": "said after all"}]
"""So that the run ends soon."""
GIVEN_UP_S = 14.5
"""15 s after its last heartbeat the client of a worker that stood still gives a call up, or its reply is read first."""
TRIES = 5
"""Then chance decides, and mostly for the reply. What was given up is held, which other tests are about."""


@pytest.mark.parametrize("back", ["before the other has ended", "after the run has ended"])
async def test_the_first_outcome_is_the_calls_and_the_late_one_is_paid_and_told(
    plant: Plant, back: str, report: Callable[[str], None]
) -> None:
    """A stopped worker's attempt is lost, another makes the second; who reports later settles its own, as late."""
    graph = await plant.publish(STALLS)
    early = back.startswith("before")
    for _ in range(TRIES):
        handle, given_up = await _stalled(plant, graph, early)
        if not given_up:
            break
    attempts = await _until_attempts(plant, handle.id, ["settled", "settled"])
    [run] = await plant.sql("select state from runs where id = %(run)s", run=handle.id)
    output = await handle.result()

    counts = await check_accounts(plant.stage, [handle.id], settled_again=1)
    report(f"a worker stalled and came back {back}: {counts}")
    assert {"said": "said after all"} == output
    assert "completed" == run["state"]
    assert ([1, 2] if early else [2, 1]) == await _outcomes(plant, handle.id)
    assert [] == await plant.sql("select 1 from runs where id = %(run)s and held_tokens > 0", run=handle.id)
    assert attempts[0]["worker"] != attempts[1]["worker"]


async def _stalled(plant: Plant, graph: CompiledGraph, early: bool) -> tuple[WorkflowHandle[Any, Any], bool]:
    """A run whose first worker stood still and went on, and whether its client may have given the call up meanwhile."""
    project = plant.project({"stalled": LATER})
    async with plant.worker(project, "stalling", ONE_CALL):
        handle = await plant.stage.start(graph, {"text": "x"})
        await _until_attempts(plant, handle.id, ["held"])
        beaten = await _until_beaten(plant, handle.id)
        plant.supervisor.kill("stalling", signal.SIGSTOP)
        plant.project({"stalled": LATER if early else AT_ONCE})
        async with plant.worker(project, "other"):
            if early:
                await _until_attempts(plant, handle.id, ["unknown", "held"])
            else:
                await Operator(plant, [handle.id]).until_all_ended(180)
            plant.supervisor.kill("stalling", signal.SIGCONT)
            in_time = time.time() - beaten < GIVEN_UP_S
            came = await _come(plant, handle.id, ["settled", "settled"], 90 if in_time else 20)
            await Operator(plant, [handle.id]).until_all_ended(180)
    return handle, not (in_time or came)


async def _until_attempts(plant: Plant, run: str, states: list[str]) -> list[Row]:
    """The run's attempts, once they are in these states."""
    rows = await _come(plant, run, states, 90)
    assert rows, f"not {states}: {[dict(row) for row in await _attempts(plant, run)]}"
    return rows


async def _come(plant: Plant, run: str, states: list[str], within_s: float) -> list[Row]:
    """The run's attempts in these states; none if they do not come to them in so many seconds."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        rows = await _attempts(plant, run)
        if [row["state"] for row in rows] == states:
            return rows
        await asyncio.sleep(0.05)
    return []


async def _attempts(plant: Plant, run: str) -> list[Row]:
    return await plant.sql("select n, state, worker from attempts where run = %(run)s order by n", run=run)


async def _until_beaten(plant: Plant, run: str) -> float:
    """When the call sent a heartbeat. One whose row is held may not have left yet: at its first heartbeat it has."""
    for _ in range(600):
        described = await plant.stage.client.get_workflow_handle(run).describe()
        for call in described.raw_description.pending_activities:
            if call.HasField("last_heartbeat_time"):
                return call.last_heartbeat_time.ToMicroseconds() / 1e6
        await asyncio.sleep(0.1)
    raise AssertionError(f"no call of {run} sends heartbeats")


async def _outcomes(plant: Plant, run: str) -> list[int]:
    """The attempts in the order of their outcomes, of which the second is told as late; the lost one was told so."""
    rows = await plant.sql(
        "select convert_from(body, 'UTF8')::jsonb as body from audit where stream = %(run)s"
        " and convert_from(body, 'UTF8')::jsonb ->> 'phase' = 'outcome' order by seq",
        run=run,
    )
    bodies = [row["body"] for row in rows]
    assert [("unknown", 1)] == [(body["outcome"], body["attempt"]) for body in bodies[:1]]
    assert ["done", "late"] == [body["outcome"] for body in bodies[1:]]
    return [body["attempt"] for body in bodies[1:]]
