"""What a worker counts of real runs, and that replaying them counts nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.worker import Replayer

from tests.integration.runs.waits import waiting
from tests.integration.workers.desk import office
from tests.stage import Relay, Stage
from vertebra.activities.watch import Watch
from vertebra.schemas.run import RunEnd
from vertebra.store.queries import named
from vertebra.workers.keeper import executions
from vertebra.workers.plugin import plugin
from vertebra.workers.telemetry.figures import GAUGES

pytestmark = pytest.mark.server

GRAPH = """
graph: figures
version: 1.0.0
input: {text: {type: string, required: true}, email: {type: string, required: true}}
spine:
  principal: svc-support
  expires_in: 1h
  permissions: [execute_tools]
  tools: [send_email]
  budget: {usd: 1.00, on_breach: reject}
agents:
  counted: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  one: {agent: counted, input: {text: input.text}}
  flaky: {agent: counted, input: {text: input.text}, retry: {max_attempts: 2}}
  send:
    type: tool
    tool: send_email
    args: {to: input.email, subject: {value: x}, text: input.text}
    approval: {assign: [support_lead], expires_in: 1h}
edges: [one -> flaky, flaky -> send, send -> end]
"""


@dataclass
class Heard(Watch):
    """Remembers what was counted for this graph."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    money: int = 0
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    ends: list[tuple[str, float]] = field(default_factory=list)
    sends: Counter[str] = field(default_factory=Counter)
    arrivals: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def settled(self, kind: str, agent: str, status: str, *, duration_ms: int, tokens: int, microusd: int) -> None:
        if agent == "counted":
            self.calls[kind, status] += 1
            self.money += microusd

    def refused(self, kind: str, by: str, reason: str) -> None:
        self.refusals[by, reason] += 1

    def ended(self, graph: str, end: RunEnd, seconds: float) -> None:
        if graph == "figures":
            self.ends.append((end, seconds))

    def sent(self, kind: str) -> None:
        self.sends[kind] += 1

    def received(self, kind: str, seconds: float) -> None:
        self.arrivals[kind] += 1
        self.latencies.append(seconds)


@pytest.fixture
def heard(stage: Stage) -> Iterator[Heard]:
    """Listens for one test."""
    relay = stage.world.watch
    assert isinstance(relay, Relay)
    made = Heard()
    relay.listeners.append(made)
    yield made
    relay.listeners.remove(made)


async def aborted(stage: Stage, handle: WorkflowHandle[Any, Any]) -> None:
    """Until the run has ended, so that the next test counts nothing of it."""
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await handle.result()


async def test_what_was_committed_is_counted_once(stage: Stage, heard: Heard) -> None:
    """Each attempt, each hold, the end: as the rows have them. Ten replays of the run's history add nothing."""
    graph = stage.compile(GRAPH)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "hello", "email": "mia@example.com"})
    row = await waiting(handle.id, stage, "approval")
    await stage.decide(row["ref"], "approve")
    await handle.result()
    [books] = await stage.sql("select spent_microusd from runs where id = %(run)s", run=handle.id)

    def counted() -> tuple[object, ...]:
        ends = [end for end, _ in heard.ends]
        return dict(heard.calls), heard.money, heard.refusals["approval", "approval"], ends, dict(heard.arrivals)

    expected = ({("llm", "done"): 2, ("llm", "again"): 1}, books["spent_microusd"], 1, ["completed"], {"decision": 1})
    assert expected == counted()
    assert heard.ends[0][1] > 0
    assert heard.latencies[0] > 0

    history = await handle.fetch_history()
    replayer = Replayer(workflows=[], plugins=[plugin()])
    for _ in range(10):
        await replayer.replay_workflow(history)
    assert expected == counted()


async def test_the_gauges_are_what_the_rows_say(stage: Stage) -> None:
    """Every gauge has its figure, and an approval that waits is in it."""
    graph = stage.compile(GRAPH)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "hello", "email": "mia@example.com"})
    await waiting(handle.id, stage, "approval")

    [row] = await stage.sql(named("keeper", "stands"))
    [pending] = await stage.sql("select count(*) as n from approvals where state = 'pending'")

    assert {name.removeprefix("vertebra_") for name in GAUGES} == set(row)
    assert pending["n"] == row["approvals_pending"] > 0
    assert row["runs_parked"] > 0
    assert office(stage).times.gauges_s > 0
    await aborted(stage, handle)


async def test_a_wake_counts_where_a_run_took_it(stage: Stage, heard: Heard) -> None:
    """One that Temporal holds no execution for was not sent; a command is received once, whoever looks again."""
    graph = stage.compile(GRAPH)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "hello", "email": "mia@example.com"})
    await waiting(handle.id, stage, "approval")

    await executions.wake(office(stage), handle.id)
    await executions.wake(office(stage), "nobody")
    await aborted(stage, handle)

    assert {"wake": 1} == heard.sends
    assert {"command": 1} == heard.arrivals


async def test_agents_with_a_call_in_flight_are_active(stage: Stage) -> None:
    """Two calls of one agent in one run are one."""
    graph = stage.compile(GRAPH)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "hello", "email": "mia@example.com"})
    await waiting(handle.id, stage, "approval")
    [before] = await stage.sql(named("keeper", "stands"))

    hold = "update attempts set state = %(state)s where run = %(run)s returning n"
    held = await stage.sql(hold, run=handle.id, state="held")
    [during] = await stage.sql(named("keeper", "stands"))
    await stage.sql(hold, run=handle.id, state="settled")

    assert len(held) > 1
    assert before["active_agents"] + 1 == during["active_agents"]
    await aborted(stage, handle)
