"""What `vertebra costs` tells, against the books of every run in the database."""

from __future__ import annotations

import pytest

from tests.integration.cli.shell import Shell
from tests.stage import Stage
from tests.stores import attempt, new_call, new_run
from vertebra.ledger.attempts import unknown_query
from vertebra.schemas.canonical import Json
from vertebra.store.transaction import Row, once

pytestmark = pytest.mark.server

BOOKS = (
    "select sum(spent_microusd)::bigint as spent_microusd, sum(spent_tokens)::bigint as spent_tokens,"
    " sum(held_microusd)::bigint as held_microusd, sum(held_tokens)::bigint as held_tokens from runs"
    " where tenant = 'default'"
)


async def table_of(shell: Shell, by: str) -> tuple[list[dict[str, int]], dict[str, int]]:
    """The groups and the total."""
    found = (await shell.done("costs", "--by", by, "--json")).fields
    groups, total = found["groups"], found["total"]
    assert isinstance(groups, list)
    assert isinstance(total, dict)
    return [dict(one) for one in groups if isinstance(one, dict)], dict(total)  # type: ignore[arg-type]  # JSON of numbers


async def books(stage: Stage) -> Row:
    [row] = await stage.sql(BOOKS)
    return row


@pytest.fixture(scope="module")
async def spent(shell: Shell, stage: Stage) -> str:
    """A run that ended, and one that holds a call and does not know the outcome of another. Gives the first."""
    handle = await stage.start(stage.support, {"ticket": "You won the lottery!", "email": "x@example.com"})
    await handle.result()
    pool = stage.world.pool
    run = await new_run(pool, microusd=1_000, tokens=1_000)
    assert await attempt(pool, run, await new_call(pool, run), 1, 300, 30)
    lost = await attempt(pool, run, await new_call(pool, run), 1, 7, 5)
    assert lost
    await once(pool, [unknown_query(lost, error_class="lost", counts=False)])
    return handle.id


@pytest.mark.parametrize("by", ["agent", "graph", "model", "day"])
async def test_every_grouping_adds_up_to_the_books(shell: Shell, stage: Stage, spent: str, by: str) -> None:
    """To the micro-dollar and the token, spent and held, however it is grouped."""
    groups, total = await table_of(shell, by)
    row = await books(stage)

    for figure in (name for name in total if name != "group"):
        assert total[figure] == sum(one[figure] for one in groups), figure
    assert (row["spent_microusd"], row["spent_tokens"]) == (total["settled_microusd"], total["settled_tokens"])
    assert row["held_microusd"] == total["held_microusd"] + total["unknown_microusd"]
    assert row["held_tokens"] == total["held_tokens"] + total["unknown_tokens"]
    assert total["held_microusd"] >= 300
    assert total["unknown_microusd"] >= 7


async def test_groups_are_what_they_are_called(shell: Shell, stage: Stage, spent: str) -> None:
    """The agent and model that the graph names, the graph, the day."""
    names = {
        by: {str(one["group"]) for one in (await table_of(shell, by))[0]} for by in ("agent", "graph", "model", "day")
    }
    [day] = await stage.sql("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD') as today")

    assert "classifier" in names["agent"]
    assert {"customer-support", "graph"} <= names["graph"]
    assert "scripted/small" in names["model"]
    assert day["today"] in names["day"]


async def test_a_time_range_leaves_out_the_rest(shell: Shell, spent: str) -> None:
    """Before anything ran, nothing was spent."""
    found = (await shell.done("costs", "--to", "2020-01-01", "--json")).fields
    told = (await shell.done("costs", "--last", "1h", "--by", "model")).out
    sheet = (await shell.done("costs", "--csv")).out

    empty: Json = []
    assert empty == found["groups"]
    assert told.splitlines()[-1].startswith("total")
    assert sheet.startswith("graph,attempts,settled_microusd,")


async def test_an_unknown_grouping_lists_the_known(shell: Shell) -> None:
    """A usage error."""
    said = await shell.call("costs", "--by", "colour")

    assert (2, True) == (said.code, "known are: agent, day, graph, model" in said.err)
