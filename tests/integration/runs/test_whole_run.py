"""The support tickets from start to end, on the real servers."""

from __future__ import annotations

import json

import pytest

from tests.integration.runs.waits import ended, tasks, waiting
from tests.stage import TEMPLATE, Stage
from vertebra.schemas.canonical import Json

pytestmark = pytest.mark.server


def ticket(number: int) -> dict[str, Json]:
    """A line of tickets.jsonl."""
    lines = (TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    found: dict[str, Json] = json.loads(lines[number - 1])
    return found


SHORT = ["classify#1", "research#1", "draft#1", "send#1"]


@pytest.mark.parametrize(
    ("number", "path"),
    [
        *((number, SHORT) for number in (1, 2, 3, 6, 7, 10)),
        (8, ["classify#1", "research#1", "research#2", "draft#1", "send#1"]),
    ],
)
async def test_a_ticket_that_needs_nobody_is_answered(stage: Stage, number: int, path: list[str]) -> None:
    """Models, tools and mail take a ticket to its end; the books are exact and nothing is held."""
    handle = await stage.start(stage.support, ticket(number))

    output, run = await ended(handle, stage)
    assert path == await tasks(handle.id, stage)

    assert "answered" == output["status"]
    assert "completed" == run["state"]
    assert (0, 0) == (run["held_microusd"], run["held_tokens"])
    [mail] = await stage.sql("select result from calls where run = %(id)s and node = 'send'", id=handle.id)
    assert mail["result"] is not None


async def test_spam_costs_one_call(stage: Stage) -> None:
    """A conditional edge ends the run after the first model call, without a reply."""
    handle = await stage.start(stage.support, ticket(5))

    output, _ = await ended(handle, stage)

    assert {"status": "open"} == output
    assert 1 == len(stage.bought(handle.id))


async def test_a_large_refund_waits_for_the_support_lead(stage: Stage) -> None:
    """The mail leaves only after a signed decision about exactly its arguments."""
    handle = await stage.start(stage.support, ticket(4))
    wait = await waiting(handle.id, stage, "approval")
    assert [] == await stage.sql("select 1 from calls where run = %(id)s and node = 'send'", id=handle.id)

    await stage.decide(wait["ref"], "approve")
    output, run = await ended(handle, stage)

    assert "answered" == output["status"]
    [approval] = await stage.sql("select state, used_by from approvals where id = %(id)s", id=wait["ref"])
    [call] = await stage.sql("select id from calls where run = %(id)s and node = 'send'", id=handle.id)
    assert ("approved", call["id"]) == (approval["state"], approval["used_by"])
    assert "completed" == run["state"]


async def test_an_edit_sends_exactly_the_edited_arguments(stage: Stage) -> None:
    """What a person wrote instead is what the tool gets."""
    handle = await stage.start(stage.support, ticket(4))
    wait = await waiting(handle.id, stage, "approval")
    [approval] = await stage.sql("select request from approvals where id = %(id)s", id=wait["ref"])
    arguments = json.loads(json.loads(bytes(approval["request"]))["arguments"])

    await stage.decide(wait["ref"], "edit", arguments=arguments | {"text": "Ein anderer Text."})
    await ended(handle, stage)

    mails = list(stage.world.maildir.rglob("*"))
    [call] = await stage.sql("select id from calls where run = %(id)s and node = 'send'", id=handle.id)
    [mail] = [path for path in mails if path.is_file() and call["id"] in path.name]
    assert "Ein anderer Text." in mail.read_text(encoding="utf-8")


async def test_a_denied_mail_blocks_its_node_and_skip_goes_on(stage: Stage) -> None:
    """A denial parks the node, alive, until an operator says what to do."""
    handle = await stage.start(stage.support, ticket(4))
    wait = await waiting(handle.id, stage, "approval")

    await stage.decide(wait["ref"], "deny")
    blocked = await waiting(handle.id, stage, "blocked")
    await stage.command(handle.id, "skip", blocked["node"], blocked["visit"])
    output, run = await ended(handle, stage)

    assert "open" == output["status"]
    assert "completed" == run["state"]


async def test_a_breached_budget_pauses_and_a_top_up_goes_on(stage: Stage) -> None:
    """The call that does not fit is held, and made after the limit was raised."""
    handle = await stage.start(stage.support, ticket(9))
    wait = await waiting(handle.id, stage, "top_up")
    before = len(stage.bought(handle.id))

    await stage.command(handle.id, "top_up", arguments={"microusd": 0, "tokens": 40_000})
    output, run = await ended(handle, stage)

    assert "answered" == output["status"]
    assert before < len(stage.bought(handle.id))
    assert 100_000 == run["limit_tokens"]
    assert wait["ref"].endswith("/60000")
