"""Clocks that jump by hours and days: the database's alone decides what expires, and the sequence orders the audit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from tests.faults.accounts import check_accounts
from tests.faults.clocks import Clock, needs_faketime, new_clock
from tests.faults.crowd import ENDURES, REPLIES, Crowd, needs_bwrap
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from tests.faults.tally import NONE, Witness, tally
from vertebra.client import approvals
from vertebra.client.signing import Signer
from vertebra.schemas.errors import PolicyError
from vertebra.store.pool import connect

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(300), needs_faketime, needs_bwrap]

JUMPS = ("+2h", "-2h", "+1d", "-1d")
RUNS = 4
"""At each jump."""
STAYS_S = 3.0
SEEN_S = 2.5
"""Each process looks at its clock once a second, by whole seconds: it may see the old time for two."""
ASKS = """
graph: asks-in-time
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-support, expires_in: 30d, budget: {usd: 1.00, tokens: 1000000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  ask: {type: human, show: {text: input.text}, assign: [support_lead], expires_in: 1h, on_error: speak}
  yes: {agent: speaker, input: {text: input.text}, write: {said: text}}
  speak: {agent: speaker, input: {text: input.text}, write: {said: text}}
edges:
  - ask -> yes
  - yes -> end
  - speak -> end
"""


async def test_a_worker_whose_clock_jumps_decides_nothing_by_it(
    plant: Plant, seed: int, report: Callable[[str], None]
) -> None:
    """Two hours and a day ahead and back: no approval expires, no deadline fires, no run notices."""
    clock = new_clock(plant.folder, "worker")
    crowd = Crowd(plant, await plant.publish(ENDURES), random.Random(seed), "worker-clock")
    witness, operator = Witness(plant, crowd), Operator(plant, crowd.runs)
    asks = await plant.publish(ASKS)

    project = plant.project({"speak": REPLIES, "yes": [{"reply": "yes said"}]})
    async with plant.worker(project, settings=clock.environment), witness.watching():
        waiting = await plant.stage.start(asks, {"text": "x"}, run="worker-clock-asks")
        await _asked(plant, waiting.id)
        for jump in JUMPS:
            await crowd.start(RUNS)
            clock.set(jump)
            await asyncio.sleep(STAYS_S)
        await operator.until_all_ended(120)
        answering = Operator(plant, [waiting.id])
        await answering.until_all_ended(60)
        counted = await tally(plant, crowd, witness)
        said = await waiting.result()

    await check_accounts(plant.stage, [*crowd.runs, waiting.id])
    spread = await _spread(plant, [*crowd.runs, waiting.id])
    report(f"the worker's clock was set to {JUMPS}; its entries lie {spread} apart; {operator.did}\n{counted}")
    assert NONE == counted.faults
    assert {} == operator.did
    assert ({"approval": 1}, {"said": "yes said"}) == (answering.did, said)
    assert timedelta(hours=20) < spread


async def test_a_database_whose_clock_jumps_expires_by_it_and_revives_nothing(
    plant: Plant, seed: int, report: Callable[[str], None]
) -> None:
    """Runs in flight outlast each jump, renewed where rights end; what expired stays so when the clock is back."""
    crowd = Crowd(plant, await plant.publish(ENDURES), random.Random(seed), "database-clock")
    witness, operator = Witness(plant, crowd), Operator(plant, crowd.runs)
    asks = await plant.publish(ASKS)

    async with _database_clock(plant) as clock, plant.worker(plant.project({"speak": REPLIES})), witness.watching():
        waiting = await plant.stage.start(asks, {"text": "x"}, run="database-clock-asks")
        approval = await _asked(plant, waiting.id)
        for jump in JUMPS:
            await crowd.start(RUNS)
            await _all_admitted(plant, crowd)
            clock.set(jump)
            await asyncio.sleep(STAYS_S)
            if jump == "+2h":
                await _expired(plant, approval)
            clock.set("+0")
            await asyncio.sleep(SEEN_S)
        with pytest.raises(PolicyError):
            await _decide(plant, approval)
        await operator.until_all_ended(180)
        await Operator(plant, [waiting.id]).until_all_ended(60)
        counted = await tally(plant, crowd, witness)
        said = await waiting.result()

    await check_accounts(plant.stage, [*crowd.runs, waiting.id])
    report(f"the database's clock was set to {JUMPS} and back each time; {operator.did}\n{counted}")
    assert NONE == counted.faults
    assert {"said": "spoken"} == said
    assert {"renewal"} >= operator.did.keys()


@asynccontextmanager
async def _database_clock(plant: Plant) -> AsyncIterator[Clock]:
    """Postgres under a clock that can be set, for the length of the block."""
    clock = new_clock(plant.folder, "postgres")
    plain = dict(plant.supervisor.child("postgres").spec.env)
    async with plant.outage("postgres", kill=False, env={**plain, **clock.environment}):
        pass
    try:
        yield clock
    finally:
        async with plant.outage("postgres", kill=False, env=plain):
            pass


async def _asked(plant: Plant, run: str) -> str:
    """The approval that the run waits for."""
    for _ in range(1200):
        rows = await plant.sql("select ref from waits where run = %(run)s and kind = 'approval'", run=run)
        if rows:
            return str(rows[0]["ref"])
        await asyncio.sleep(0.05)
    raise AssertionError(f"{run} never asked")


async def _all_admitted(plant: Plant, crowd: Crowd) -> None:
    """A ticket lives ten minutes, by the database's clock."""
    for _ in range(4000):  # an admission that a jump has cut off is asked for anew after 5, 10, 20, 40.. seconds
        rows = await plant.sql("select 1 from runs where id = any(%(runs)s)", runs=crowd.runs)
        if len(rows) == len(crowd.runs):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not all runs were admitted")


async def _expired(plant: Plant, approval: str) -> None:
    for _ in range(600):
        rows = await plant.sql("select state from approvals where id = %(id)s", id=approval)
        if rows[0]["state"] == "expired":
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the approval is {rows[0]['state']}")


async def _decide(plant: Plant, approval: str) -> None:
    """As the CLI does. Raises PolicyError where the approval is not open."""
    connection = await connect(plant.migrated.dsn("vertebra_api"))
    async with connection:
        found = await approvals.approval(connection, approval)
        verdict = approvals.Verdict("approve", found.asked.digest)
        await approvals.decide(connection, Signer("ada", plant.stage.keys["ada"]), found, verdict)


async def _spread(plant: Plant, runs: list[str]) -> timedelta:
    """Between the earliest and the latest time that entries of these runs state."""
    [row] = await plant.sql(
        "select min(convert_from(body, 'UTF8')::jsonb ->> 'time') as first,"
        " max(convert_from(body, 'UTF8')::jsonb ->> 'time') as last from audit where stream = any(%(runs)s)",
        runs=runs,
    )
    return datetime.fromisoformat(row["last"]) - datetime.fromisoformat(row["first"])
