"""A worker that stalls past its heartbeat and comes back: two attempts of one call, one answer, each paid for once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from vertebra.schemas.canonical import Json
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
"""So that the run ends before the stopped worker's client gives the call up, 5 s after its heartbeat was due."""


@pytest.mark.parametrize("back", ["before the other has ended", "after the run has ended"])
async def test_the_first_outcome_is_the_calls_and_the_late_one_is_paid_and_told(
    plant: Plant, back: str, report: Callable[[str], None]
) -> None:
    """A stopped worker's attempt is lost, another makes the second; who reports later settles its own, as late."""
    graph = await plant.publish(STALLS)
    project = plant.project({"stalled": LATER})
    early = back.startswith("before")

    async with plant.worker(project, "stalling", ONE_CALL):
        handle = await plant.stage.start(graph, {"text": "x"})
        await _until_attempts(plant, handle.id, ["held"])
        await _until_beaten(plant, handle.id)
        plant.supervisor.kill("stalling", signal.SIGSTOP)
        plant.project({"stalled": LATER if early else AT_ONCE})
        async with plant.worker(project, "other"):
            if early:
                await _until_attempts(plant, handle.id, ["unknown", "held"])
                plant.supervisor.kill("stalling", signal.SIGCONT)
            [run] = await Operator(plant, [handle.id]).until_all_ended(180)
            if not early:
                plant.supervisor.kill("stalling", signal.SIGCONT)
            attempts = await _until_attempts(plant, handle.id, ["settled", "settled"])
            output = await handle.result()

    counts = await check_accounts(plant.stage, [handle.id], settled_again=1)
    report(f"a worker stalled and came back {back}: {counts}")
    assert {"said": "said after all"} == output
    assert "completed" == run["state"]
    assert ([1, 2] if early else [2, 1]) == await _outcomes(plant, handle.id)
    assert [] == await plant.sql("select 1 from runs where id = %(run)s and held_tokens > 0", run=handle.id)
    assert attempts[0]["worker"] != attempts[1]["worker"]


async def _until_attempts(plant: Plant, run: str, states: list[str]) -> list[Row]:
    """The run's attempts, once they are in these states."""
    rows: list[Row] = []
    for _ in range(1800):
        rows = await plant.sql("select n, state, worker from attempts where run = %(run)s order by n", run=run)
        if [row["state"] for row in rows] == states:
            return rows
        await asyncio.sleep(0.05)
    raise AssertionError(f"not {states}: {[dict(row) for row in rows]}")


async def _until_beaten(plant: Plant, run: str) -> None:
    """A call whose row is held may not have left yet: seconds later, at the first heartbeat, it has."""
    for _ in range(600):
        described = await plant.stage.client.get_workflow_handle(run).describe()
        if any(call.HasField("last_heartbeat_time") for call in described.raw_description.pending_activities):
            return
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
