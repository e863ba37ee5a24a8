"""What people decided stands when a run goes on again: nothing is sent twice, asked twice, or forgotten."""

from __future__ import annotations

import pytest

from tests.integration.runs.waits import Handle, ended, waiting
from tests.integration.workers.desk import WAYS, goes_on, until
from tests.stage import Stage
from vertebra.schemas.canonical import Json

pytestmark = [pytest.mark.server]

HEAD = """
graph: NAME
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine:
  principal: svc-support
  permissions: [execute_tools, persist_data]
  tools: [send_email]
  expires_in: 1h
  budget: {usd: 1.00, tokens: 1000000, on_breach: reject}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
"""
SEND = """  send:
    type: tool
    tool: send_email
    args: {to: {value: a@example.org}, subject: {value: Hello}, text: input.text}
    approval: {assign: [support_lead]}
"""
ONE = "  one: {agent: speaker, input: {text: input.text}}\n"
BROKEN = """  broken: {agent: speaker, input: {text: input.text}, retry: {max_attempts: 1, backoff: 10ms}}
  two: {agent: speaker, input: {text: input.text}, write: {said: text}}
"""


async def started(stage: Stage, name: str, body: str) -> Handle:
    """A run of a graph of the test's own."""
    graph = stage.compile(HEAD.replace("NAME", name) + body)
    await stage.publish(graph)
    return await stage.start(graph, {"text": "first"})


async def completed(stage: Stage, run: str) -> None:
    """Answer the node that fails in each of these graphs, and wait for the end."""
    await waiting(run, stage, "blocked")
    await stage.command(run, "override", "broken", 1, arguments={"text": "by hand"})
    _, row = await ended(stage.client.get_workflow_handle(run), stage)
    assert "completed" == row["state"]


async def rounds(stage: Stage, run: str) -> list[tuple[int, str]]:
    rows = await stage.sql("select round, state from approvals where run = %(id)s order by round", id=run)
    return [(row["round"], row["state"]) for row in rows]


async def mails(stage: Stage, run: str) -> list[str]:
    rows = await stage.sql("select id from calls where run = %(id)s and kind = 'tool'", id=run)
    found = [path for path in stage.world.maildir.rglob("*") if path.is_file()]
    return [path.read_text("utf-8") for path in found if any(row["id"] in path.name for row in rows)]


@pytest.mark.parametrize("history", WAYS)
async def test_an_edited_mail_is_sent_once(stage: Stage, history: bool) -> None:
    """The resumed run sends the original again, hears of the edit from the same approval, and finds it delivered."""
    edges = "edges:\n  - send -> broken\n  - broken -> two\n"
    handle = await started(stage, f"edited-{history}".lower(), SEND + BROKEN + edges)
    asked = await waiting(handle.id, stage, "approval")
    edited: dict[str, Json] = {"to": "a@example.org", "subject": "Hello", "text": "better"}
    await stage.decide(asked["ref"], "edit", arguments=edited)
    await waiting(handle.id, stage, "blocked")

    await goes_on(stage, handle, history)
    await completed(stage, handle.id)

    assert [(1, "edited")] == await rounds(stage, handle.id)
    [mail] = await mails(stage, handle.id)
    assert "better" in mail


@pytest.mark.parametrize("history", WAYS)
async def test_a_denied_mail_is_not_asked_about_again(stage: Stage, history: bool) -> None:
    """The fallback ran: the resumed run takes it again, and nobody can approve the mail any more."""
    body = SEND + "    on_error: sorry\n  sorry: {type: rules, default: {why: error.message}}\n" + BROKEN
    edges = "edges:\n  - send -> broken\n  - sorry -> broken\n  - broken -> two\n"
    handle = await started(stage, f"denied-{history}".lower(), body + edges)
    asked = await waiting(handle.id, stage, "approval")
    await stage.decide(asked["ref"], "deny")
    await waiting(handle.id, stage, "blocked")

    await goes_on(stage, handle, history)
    await completed(stage, handle.id)

    assert [(1, "denied")] == await rounds(stage, handle.id)
    assert [] == await mails(stage, handle.id)


async def test_a_retry_asks_about_a_denied_mail_anew(stage: Stage) -> None:
    """Only the command opens another round, and that one is decided by itself."""
    handle = await started(stage, "denied-retried", SEND)
    first = await waiting(handle.id, stage, "approval")
    await stage.decide(first["ref"], "deny")
    await waiting(handle.id, stage, "blocked")

    await stage.command(handle.id, "retry", "send", 1, arguments={"round": 1})
    second = await waiting(handle.id, stage, "approval")
    await stage.decide(second["ref"], "approve")
    _, row = await ended(handle, stage)

    assert "completed" == row["state"]
    assert [(1, "denied"), (2, "approved")] == await rounds(stage, handle.id)
    assert 1 == len(await mails(stage, handle.id))


@pytest.mark.parametrize("history", WAYS)
async def test_a_pause_on_a_result_stands(stage: Stage, history: bool) -> None:
    """Withdrawn with the ended run, it is asked again before the result gets out; nothing is bought again."""
    rule = "guardrails:\n  - {id: words, on: one, at: after, when: \"one.text.contains('said')\", action: pause}\n"
    edges = "edges:\n  - one -> broken\n  - broken -> two\n"
    handle = await started(stage, f"paused-{history}".lower(), ONE + BROKEN + edges + rule)
    first = await waiting(handle.id, stage, "approval")

    await goes_on(stage, handle, history)
    await until(lambda: asked_again(stage, handle.id, first["ref"]))
    second = await waiting(handle.id, stage, "approval")
    await stage.decide(second["ref"], "approve")
    await completed(stage, handle.id)

    assert [(1, "withdrawn"), (2, "approved")] == await rounds(stage, handle.id)
    assert ["one", "two"] == [sale["node"] for sale in stage.bought(handle.id)]


async def asked_again(stage: Stage, run: str, first: str) -> bool:
    rows = await stage.sql("select ref from waits where run = %(run)s and kind = 'approval'", run=run)
    return bool(rows) and rows[0]["ref"] != first


async def test_what_an_operator_did_stands_when_they_are_revoked(stage: Stage) -> None:
    """The resumed run goes the way that it went while they could decide; what they sign from now on does not count."""
    await stage.enroll("dee", "operator")
    handle = await started(stage, "by-dee", BROKEN + SEND + "edges:\n  - broken -> two\n  - two -> send\n")
    await waiting(handle.id, stage, "blocked")
    await stage.command(handle.id, "override", "broken", 1, by="dee", arguments={"text": "by hand"})
    await waiting(handle.id, stage, "approval")
    await stage.sql("update people set revoked_at = now() where name = 'dee'")

    await goes_on(stage, handle, history=False)
    second = await waiting(handle.id, stage, "approval")
    await stage.decide(second["ref"], "approve")
    _, row = await ended(stage.client.get_workflow_handle(handle.id), stage)

    assert "completed" == row["state"]
    assert [(1, "withdrawn"), (2, "approved")] == await rounds(stage, handle.id)
