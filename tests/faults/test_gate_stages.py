"""Every stage of a run's transactions and calls is lost once: nothing is half-written, and nothing is bought twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from temporalio.client import Client

from tests.faults.accounts import check_accounts
from tests.faults.cutting import Cut, Moment, cutting
from tests.faults.losing import LosingAnswers, Losses, Stage, losing_providers, losing_registry
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from vertebra.client import commands
from vertebra.store.artifacts import Artifacts
from vertebra.store.transaction import Row
from vertebra.tools.contract import ToolContext, tool
from vertebra.tools.registry import builtin_tools
from vertebra.workers.plugin import plugin

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(480)]

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

PAYS = """
graph: pays
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine:
  {principal: svc-support, permissions: [execute_tools], tools: [send_email, pay], expires_in: 1h,
   budget: {usd: 1.00, tokens: 100000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  one: {agent: speaker, input: {text: input.text}, write: {said: text}}
  send: {type: tool, tool: send_email, args: {to: {value: ada@example.org}, subject: {value: hello}, text: state.said}}
  pay: {type: tool, tool: pay, args: {whom: input.text}, approval: {never: a test}}
edges:
  - one -> send
  - send -> pay
"""
STEPS = {"admit", "llm", "load", "tool", "close"}
"""What a run of SENDS asks the store for, by activity type."""
STAGES: tuple[Stage, ...] = ("before the call", "after the call", "after the outcome")
EXPECTED = {
    ("one", "before the call"): (1, 1, 1, Counter()),
    ("one", "after the call"): (2, 1, 1, Counter()),
    ("one", "after the outcome"): (1, 0, 1, Counter()),
    ("send", "before the call"): (1, 1, 1, Counter()),
    ("send", "after the call"): (1, 1, 1, Counter()),
    ("send", "after the outcome"): (1, 0, 1, Counter()),
    ("pay", "before the call"): (1, 1, 1, Counter(UnknownOutcome=1)),
    ("pay", "after the call"): (1, 1, 1, Counter(UnknownOutcome=1)),
    ("pay", "after the outcome"): (1, 0, 1, Counter()),
}
"""Node and stage of the loss: sales, attempts of unknown outcome, payments, questions to the operator."""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_store_that_fails_once_anywhere_leaves_nothing_half_written(
    plant: Plant, moment: Moment, report: Callable[[str], None]
) -> None:
    """The connection is lost at each trip of a run in turn, before or after the server did it: one sale, one mail."""
    stage = plant.stage
    graph = await plant.publish(SENDS)

    async with cutting(plant.migrated.dsn("vertebra_gate")) as (pool, cuts):
        world = replace(stage.world, pool=pool, artifacts=Artifacts(pool))
        async with plant.at_work(world):
            for clean in (f"cold-{moment}", f"warm-{moment}"):  # the second one finds graph, prompt and prices read
                await stage.start(graph, {"text": "x"}, run=clean)
                await Operator(plant, [clean]).until_all_ended(180)
            runs = [f"cut-{moment}-{trip}" for trip in range(cuts.trips[clean])]
            cuts.planned = {run: Cut(trip, moment) for trip, run in enumerate(runs)}
            for run in runs:
                await stage.start(graph, {"text": "x"}, run=run)
            operator = Operator(plant, runs)
            rows = await operator.until_all_ended(180)

    counts = await check_accounts(stage, runs)
    report(f"cut {moment} each of {len(runs)} trips {dict(Counter(cuts.made.values()))}: {counts}; {operator.did}")
    # a wake may have a run look once more than another: each trip that all of them make is cut
    assert set(cuts.made) >= set(runs[: min(cuts.trips.values())])
    assert STEPS == set(cuts.made.values())
    assert {"completed"} == {row["state"] for row in rows}
    assert (len(runs), len(runs), 0) == (counts.sales, counts.mails, counts.bought_again)
    assert {"approval": len(runs)} == operator.did


@tool(effect="irreversible", runs="worker")
def pay(whom: str, context: ToolContext) -> str:
    """Pay somebody, once more at every call."""
    with (context.maildir.parent / "payments").open("a") as file:
        file.write(f"{whom}\n")
    return "paid"


async def test_a_worker_that_dies_at_any_stage_of_a_call_repeats_no_effect(
    plant: Plant, report: Callable[[str], None]
) -> None:
    """A model may be paid twice, visibly; a keyed effect happens once; of any other a person says if it happened."""
    losses = Losses()
    registry = losing_registry([*builtin_tools(), pay], losses)
    providers = losing_providers(plant.stage.world.providers, losses)
    world = replace(plant.stage.world, registry=registry, providers=providers)
    client = await Client.connect(
        plant.supervisor.services.temporal_address, plugins=[plugin()], interceptors=[LosingAnswers(losses)]
    )
    stage = replace(plant.stage, world=world, client=client)
    graph = stage.compile(PAYS)
    await stage.publish(graph)
    losses.planned = {f"lost-{node}-{number}": (node, at) for node, at, number in _cases()}

    def unblock(wait: Row) -> commands.Order:
        happened = losses.planned[wait["run"]][1] == "after the call"
        verb: commands.Verb = "override" if happened else "retry"
        return commands.Order(verb, wait["node"], wait["visit"], "paid" if happened else None)

    operators = {run: Operator(replace(plant, stage=stage), [run], unblock) for run in losses.planned}
    async with plant.at_work(world, client):
        for run in losses.planned:
            await stage.start(graph, {"text": run}, run=run)
        ended = await asyncio.gather(*(operator.until_all_ended(180) for operator in operators.values()))

    counts = await check_accounts(stage, list(losses.planned))
    report(f"workers lost at {len(STAGES)} stages of 3 kinds of calls: {counts}")
    assert set(losses.planned) == losses.made
    assert {"completed"} == {rows[0]["state"] for rows in ended}
    paid = Counter((stage.world.maildir.parent / "payments").read_text().split())
    for run, case in losses.planned.items():
        unknown = await stage.sql("select 1 from attempts where run = %(run)s and state = 'unknown'", run=run)
        assert EXPECTED[case] == (len(stage.bought(run)), len(unknown), paid[run], operators[run].did), case


def _cases() -> list[tuple[str, Stage, int]]:
    return [(node, at, number) for node in ("one", "send", "pay") for number, at in enumerate(STAGES)]
