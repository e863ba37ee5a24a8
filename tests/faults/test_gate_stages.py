"""Every stage of a run's transactions and calls is lost once: nothing is half-written, and nothing is bought twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.cutting import Cut, Moment, cutting
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from vertebra.store.artifacts import Artifacts

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(240)]

SENDS = """
graph: sends
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine:
  {principal: svc-support, permissions: [execute_tools], tools: [send_email], expires_in: 1h,
   budget: {usd: 1.00, tokens: 100000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  one: {agent: speaker, input: {text: input.text}, write: {said: text}}
  send:
    type: tool
    tool: send_email
    args: {to: {value: ada@example.org}, subject: {value: hello}, text: state.said}
    approval: {assign: [support_lead]}
edges:
  - one -> send: {when: "state.said != ''"}
  - one -> end: {else: true}
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_store_that_fails_once_anywhere_leaves_nothing_half_written(
    plant: Plant, moment: Moment, report: Callable[[str], None]
) -> None:
    """The connection is lost at each trip of a run in turn, before or after the server did it: one sale, one mail."""
    stage = plant.stage
    graph = stage.compile(SENDS)
    await stage.publish(graph)

    async with cutting(plant.migrated.dsn("vertebra_gate")) as (pool, cuts):
        world = replace(stage.world, pool=pool, artifacts=Artifacts(pool))
        async with plant.at_work(world):
            for clean in (f"cold-{moment}", f"warm-{moment}"):  # the second one finds graph, prompt and prices read
                await stage.start(graph, {"text": "x"}, run=clean)
                await Operator(plant, [clean]).until_all_ended(30)
            runs = [f"cut-{moment}-{trip}" for trip in range(cuts.trips[clean])]
            cuts.planned = {run: Cut(trip, moment) for trip, run in enumerate(runs)}
            for run in runs:
                await stage.start(graph, {"text": "x"}, run=run)
            operator = Operator(plant, runs)
            rows = await operator.until_all_ended(60)

    counts = await check_accounts(stage, runs)
    report(f"cut {moment} each of {len(runs)} trips {dict(Counter(cuts.made.values()))}: {counts}; {operator.did}")
    assert set(runs) == set(cuts.made)
    assert {"completed"} == {row["state"] for row in rows}
    assert (len(runs), len(runs), 0) == (counts.sales, counts.mails, counts.bought_again)
    assert {"approval": len(runs)} == operator.did
