"""Asking the audit from the command line, about a run that really happened."""

from __future__ import annotations

import csv
import io

import pytest

from tests.integration.cli.shell import Shell
from tests.stage import Stage
from vertebra.store.transaction import Row

pytestmark = pytest.mark.server

SPAM = {"ticket": "You won the lottery!", "email": "x@example.com"}


async def ended(shell: Shell, stage: Stage) -> Row:
    """A run of one model call."""
    handle = await stage.start(stage.support, SPAM)
    await handle.result()
    return await shell.ends(handle)


async def test_a_runs_entries_are_found(shell: Shell, stage: Stage) -> None:
    """As JSON page by page, as CSV with the same places, and as a table."""
    run = (await ended(shell, stage))["id"]

    whole = (await shell.done("audit", "query", "--run", run, "--json")).fields
    first = (await shell.done("audit", "query", "--run", run, "--limit", "2", "--json")).fields
    rest = (await shell.done("audit", "query", "--run", run, "--after", str(first["next"]), "--json")).fields
    sheet = await shell.done("audit", "query", "--run", run, "--operation", "llm_call", "--success", "--csv")
    told = await shell.done("audit", "query", "--run", run, "--last", "1h")

    assert isinstance(whole["entries"], list)
    assert isinstance(first["entries"], list)
    assert isinstance(rest["entries"], list)
    assert whole["entries"] == first["entries"] + rest["entries"]
    assert None is whole["next"]
    [row] = csv.DictReader(io.StringIO(sheet.out))
    assert ("outcome", "done", "classifier", run) == (row["phase"], row["outcome"], row["agent"], row["run"])
    assert 1 + len(whole["entries"]) == len(told.out.splitlines())


async def test_sums_agree_with_the_books(shell: Shell, stage: Stage) -> None:
    """What the audit adds up for a run is what its row says was spent."""
    row = await ended(shell, stage)

    costs = (await shell.done("audit", "aggregate", "llm_cost", "--by", "run", "--json")).fields["groups"]
    tokens = (await shell.done("audit", "aggregate", "tokens", "--by", "run", "--csv")).out

    assert isinstance(costs, list)
    assert {"group": row["id"], "value": row["spent_microusd"]} in costs
    assert f"{row['id']},{row['spent_tokens']}" in tokens.splitlines()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("audit", "query", "--operation", "llm_cal"), "did you mean 'llm_call'? known are: "),
        (("audit", "aggregate", "money"), "known are: calls, cost, "),
        (("audit", "aggregate", "cost", "--by", "colour"), "known are: actor, agent_id, "),
        (("audit", "query", "--last", "1h", "--from", "2026-01-01"), "either 'last' or 'from' and 'to'"),
        (("audit", "query", "--json", "--csv"), "one form"),
    ],
)
async def test_wrong_questions_end_with_advice(shell: Shell, words: tuple[str, ...], told: str) -> None:
    """Usage errors, each with the words that there are."""
    said = await shell.call(*words)

    assert (2, "") == (said.code, said.out)
    assert told in said.err
