"""Many branches of many runs race for the last cents of their budgets, while people top up and abort."""

from __future__ import annotations

import asyncio
import random
from typing import LiteralString

import pytest

from tests.attacks.graphs import published, speaks, text_of
from tests.attacks.vendor import Turned, Vendor, says
from tests.stage import Stage
from vertebra.ledger.attempts import check_books_query
from vertebra.providers.errors import failure
from vertebra.providers.protocol import Place
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import FailureKind
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.llm import ModelReply, ModelRequest
from vertebra.store.transaction import once

pytestmark = [pytest.mark.attack, pytest.mark.server, pytest.mark.timeout(180)]

RUNS, BRANCHES, TOP_UPS = 9, 6, 30
SEED = 7
FAILURES: tuple[FailureKind, ...] = ("network", "timeout", "malformed", "server", "rate_limited")
"""Some give the reservation back, others leave it held for good; each is tried again with another."""
BREACHES = ("pause", "reject", "abort")
OVER = """
select id from runs where id = any(%(runs)s) and (
    spent_microusd + held_microusd > limit_microusd or spent_tokens + held_tokens > limit_tokens
    or least(spent_microusd, held_microusd, spent_tokens, held_tokens) < 0
)
"""


def moody(chance: random.Random) -> Turned:
    """Fails in every way that a vendor has, or sells for any part of what was reserved."""

    def reply(request: ModelRequest, place: Place) -> ModelReply:
        if chance.random() < 0.4:
            raise failure(chance.choice(FAILURES), "a moody vendor")
        told = says("hello", input_tokens=chance.randint(1, 50), output_tokens=chance.randint(1, 2048))
        return told(request, place)

    return reply


async def fork(stage: Stage, names: list[str], breach: str) -> CompiledGraph:
    """A graph whose branches want twice what it has."""
    nodes = "  first: {type: rules, default: {ok: {value: true}}}\n"
    nodes += "".join(speaks(name, extra=", retry: {max_attempts: 3, backoff: 500ms}") for name in names)
    nodes += "  rest: {type: rules, default: {ok: {value: true}}}\n"
    edges = f"edges:\n  - first -> {', '.join(names)}\n  - {', '.join(names)} -> rest: {{join: all}}\n"
    budget = "usd: 0.004, tokens: 1000000"
    return await published(stage, text_of(f"storm-{breach}", nodes, budget=budget, edges=edges, breach=breach))


async def until(stage: Stage, runs: list[str], found: LiteralString) -> None:
    """Wait until this finds all of the runs."""
    async with asyncio.timeout(60):
        while len(runs) != len(await stage.sql(found, runs=runs)):  # noqa: ASYNC110  # rows ring no bell
            await asyncio.sleep(0.05)


async def test_no_run_spends_or_holds_more_than_it_may(stage: Stage, vendor: Vendor) -> None:
    """At every moment spent and held fit the limit, and in the end the books are the sum of what was sold."""
    chance = random.Random(SEED)
    names = [f"stormy{number}" for number in range(BRANCHES)]
    vendor.turned.update({name: moody(chance) for name in names})
    graphs = [await fork(stage, names, breach) for breach in BREACHES]
    runs = [(await stage.start(graphs[number % len(graphs)], {"text": "x"})).id for number in range(RUNS)]
    await until(stage, runs, "select 1 from runs where id = any(%(runs)s)")

    over = []
    for _ in range(TOP_UPS):
        amounts: Json = {"microusd": chance.randint(1, 900), "tokens": 1}
        await stage.command(chance.choice(runs), "top_up", arguments=amounts)
        for _ in range(5):
            over += await stage.sql(OVER, runs=runs)
            await asyncio.sleep(0.02)
    for run in runs:
        await stage.command(run, "abort")
    await until(stage, runs, "select 1 from runs where id = any(%(runs)s) and ended_at is not null")

    # those that an abort cut before they were sent are none
    sent = "select state from attempts where run = any(%(runs)s) and class is distinct from 'Cancelled'"
    attempts = await stage.sql(sent, runs=runs)
    assert [] == over + await stage.sql(OVER, runs=runs)
    assert [[]] == await once(stage.owner, [check_books_query()])
    assert len(attempts) == sum(len(stage.bought(run)) for run in runs)
    assert {"settled", "released", "unknown"} == {row["state"] for row in attempts}
