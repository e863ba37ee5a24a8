"""Operators' commands to a run: each answers what it was signed for, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.runs.waits import blocked, ended, looked, row_of, waiting
from tests.stage import Stage
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.transaction import Row

pytestmark = pytest.mark.server

HEAD = """
graph: {name}
version: 1.0.0
input: {{text: {{type: string, required: true}}}}
output: {{said: {{type: string, from: state.said}}}}
state: {{said: {{type: string, default: nothing}}}}
spine: {{principal: svc-support, expires_in: 1h, budget: {{usd: 1.00, tokens: 1000000, on_breach: reject}}}}
agents:
  speaker: {{type: llm, model: {{provider: scripted, model: small}}, prompt: say@1}}
nodes:
  broken: {{agent: speaker, input: {{text: input.text}}, write: {{said: text}}, retry: {{max_attempts: 1}}}}
"""


async def published(stage: Stage, name: str) -> CompiledGraph:
    graph = stage.compile(HEAD.format(name=name))
    await stage.publish(graph)
    return graph


async def attempts(run: str, stage: Stage) -> int:
    return len(await stage.sql("select 1 from attempts where run = %(id)s", id=run))


async def blocked_anew(run: str, stage: Stage, before: Row) -> Row:
    """The wait once it tells of another error."""
    async with asyncio.timeout(60):
        while (row := await waiting(run, stage, "blocked"))["error"] == before["error"]:  # noqa: ASYNC110  # rows ring no bell
            await asyncio.sleep(0.05)
    return row


async def test_two_retries_of_one_block_are_one(stage: Stage) -> None:
    """The second one does not answer the next block by itself; a retry of that block does."""
    handle = await stage.start(await published(stage, "twice"), {"text": "x"})
    await blocked(handle.id, stage, 1)
    both: Json = {"round": 1}
    await stage.command(handle.id, "retry", "broken", 1, arguments=both, wake=False)
    await stage.command(handle.id, "retry", "broken", 1, arguments=both)
    await blocked(handle.id, stage, 2)
    await looked(handle.id, stage)
    assert 2 == await attempts(handle.id, stage)

    await stage.command(handle.id, "retry", "broken", 1)
    await blocked(handle.id, stage, 3)

    assert 3 == await attempts(handle.id, stage)
    await stage.command(handle.id, "abort")


async def test_a_retry_without_a_round_counts_for_nothing(stage: Stage) -> None:
    """It would answer whatever blocks next; it is refused, on record."""
    handle = await stage.start(await published(stage, "roundless"), {"text": "x"})
    await blocked(handle.id, stage, 1)
    await stage.command(handle.id, "retry", "broken", 1, arguments={"round": "1"})
    await looked(handle.id, stage)

    assert 1 == await attempts(handle.id, stage)
    told = await stage.sql(
        "select convert_from(body, 'UTF8')::jsonb ->> 'error' as error from audit where stream = %(id)s"
        " and convert_from(body, 'UTF8')::jsonb ->> 'operation' = 'command_refused'",
        id=handle.id,
    )
    assert ["which block" in row["error"] for row in told] == [True]
    await stage.command(handle.id, "abort")


async def test_a_second_block_shows_its_own_error_and_time(stage: Stage) -> None:
    """What people read about a blocked node is about the block that is open."""
    handle = await stage.start(await published(stage, "shown"), {"text": "x"})
    first = await blocked(handle.id, stage, 1)
    await stage.command(handle.id, "override", "broken", 1, arguments={"text": 5})
    second = await blocked_anew(handle.id, stage, first)

    error = CallError.model_validate_json(bytes(second["error"]))
    assert ("WrongType", True) == (error.type, second["since"] > first["since"])
    await stage.command(handle.id, "abort")


async def test_an_override_that_does_not_fit_leaves_the_run_blocked_and_free_for_a_retry(stage: Stage) -> None:
    """It is tried once: the run shows as blocked afterwards, and the next command counts."""
    handle = await stage.start(await published(stage, "unfit"), {"text": "x"})
    first = await blocked(handle.id, stage, 1)
    await stage.command(handle.id, "override", "broken", 1, arguments={"text": 5})
    await blocked_anew(handle.id, stage, first)
    await looked(handle.id, stage)
    assert "blocked" == (await row_of(handle.id, stage))["state"]

    await stage.command(handle.id, "retry", "broken", 1)
    await blocked(handle.id, stage, 2)
    await stage.command(handle.id, "override", "broken", 1, arguments={"text": "by hand"})
    output, _ = await ended(handle, stage)

    assert {"said": "by hand"} == output
