"""Joins that take the first branch, on the real servers: losers are cancelled, and a resumed run takes the same one."""

from __future__ import annotations

import pytest

from tests.integration.runs.waits import waiting
from tests.integration.workers.desk import WAYS, goes_on, told
from tests.integration.workers.test_resume_decisions import BROKEN, HEAD, completed
from tests.stage import Stage

pytestmark = pytest.mark.server

RACE = """
  one: {agent: speaker, input: {text: input.text}, write: {said: text}}
  slow: {agent: speaker, input: {text: input.text}, write: {said: text}}
  ask: {type: human, show: {text: input.text}, assign: [support_lead], write: {said: decision}}
  first: {type: rules, default: {text: state.said}}
"""
EDGES = """
edges:
  - fork -> one, slow, ask
  - one, slow, ask -> first: {join: any}
  - first -> broken
  - broken -> two
"""
FORK = "  fork: {type: rules, default: {text: input.text}}"


@pytest.mark.parametrize("history", WAYS)
async def test_a_resumed_run_takes_the_same_winner_and_calls_no_loser_again(stage: Stage, history: bool) -> None:
    """Who won and who was cancelled is on record; nobody is asked for the loser; resumed, nothing is bought anew."""
    body = FORK + RACE + BROKEN.replace("text: input.text", "text: first.text", 1) + EDGES
    graph = stage.compile(HEAD.replace("NAME", f"race-{history}".lower()) + body)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "first"})
    await waiting(handle.id, stage, "blocked")
    joined = [entry for entry in await told(stage, handle.id) if "cancelled" in entry.get("detail", {})]  # type: ignore[operator]
    [asked] = await stage.sql("select state from approvals where run = %(id)s", id=handle.id)
    bought = stage.bought(handle.id)

    await goes_on(stage, handle, history)
    await completed(stage, handle.id)

    assert ["one"] == [entry["detail"]["from"] for entry in joined]  # type: ignore[index]
    assert {"ask#1", "slow#1"} == set(joined[0]["detail"]["cancelled"].split(", "))  # type: ignore[index]
    assert "withdrawn" == asked["state"]
    again = [sale for sale in stage.bought(handle.id)[len(bought) :] if sale["node"] != "two"]
    assert [] == again
