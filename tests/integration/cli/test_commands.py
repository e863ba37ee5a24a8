"""What people say to runs from the command line, each word against a run that waits for it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.integration.cli.shell import Shell
from tests.integration.runs.waits import row_of, waiting
from tests.integration.workers.desk import keeping
from tests.stage import Stage
from vertebra.client.runs import standing
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.transaction import Query, Transaction
from vertebra.workers.keeper import Times

pytestmark = [pytest.mark.server]

GRAPH = """
graph: cli-{name}
version: 1.0.0
input: {{text: {{type: string, required: true}}, email: {{type: string, required: true}}}}
output: {{said: {{type: string, from: state.said}}}}
state: {{said: {{type: string, default: nothing}}}}
spine:
  principal: svc-support
  expires_in: 1h
  permissions: [execute_tools]
  tools: [send_email]
  budget: {{usd: 1.00, tokens: 1000000, on_breach: reject}}
agents:
  speaker: {{type: llm, model: {{provider: scripted, model: small}}, prompt: say@1}}
nodes:
  {node}
  after: {{agent: speaker, input: {{text: input.text}}}}
edges:
  {edges}
"""
BROKEN = "broken: {agent: speaker, input: {text: input.text}, retry: {max_attempts: 1}, write: {said: text}}"
FLAKY = "flaky: {agent: speaker, input: {text: input.text}, retry: {max_attempts: 1}, write: {said: text}}"
SPEAKS = "{agent: speaker, input: {text: input.text}}"
SEND = (
    "send: {type: tool, tool: send_email, args: {to: input.text, subject: {value: x}, text: input.text},"
    " retry: {max_attempts: 1}, approval: {never: a test}, write: {said: delivered_to}}"
)
ASK = (
    "ask: {type: human, show: {text: input.text}, form: {amount: {type: integer, required: true}, why: {type: string}},"
    " assign: [support_lead], expires_in: EXPIRES, write: {said: decision}}"
)


async def published(stage: Stage, name: str, *nodes: str) -> CompiledGraph:
    """A graph of these nodes, one after the other, and a last one that speaks."""
    names = [*(node.partition(":")[0] for node in nodes), "after"]
    edges = "\n  ".join(f"- {one} -> {then}" for one, then in pairwise(names))
    graph = stage.compile(GRAPH.format(name=name, node="\n  ".join(nodes), edges=edges))
    await stage.publish(graph)
    return graph


QUICK = Times(expiry_s=0.2, unseen_s=0.2, untouched_s=0.5, orphans_s=3600)
"""A keeper that is quick to notice."""


async def test_a_skipped_node_is_left_out(shell: Shell) -> None:
    """The run goes on without a result of it; another node, or the same one again, is refused by what is blocked."""
    handle, _ = await shell.start(await published(shell.stage, "skip", BROKEN), "blocked")

    wrong = await shell.call("skip", handle.id, "after")
    assert (1, "") == (wrong.code, wrong.out)
    assert "blocked are: broken (visit 1)" in wrong.err
    assert "signed by ada" in (await shell.done("skip", handle.id, "broken", "--reason", "not needed")).out

    assert {"said": "nothing"} == await shell.result(handle)
    again = await shell.call("skip", handle.id, "broken")
    assert (1, True) == (again.code, "has ended" in again.err)
    assert "vertebra resume" not in again.err  # which would be refused: it is completed


async def test_a_retried_node_is_tried_again(shell: Shell) -> None:
    """What failed once is bought again, and the run goes on; somebody without the role may not say so."""
    handle, _ = await shell.start(await published(shell.stage, "retry", FLAKY), "blocked")

    assert 1 == (await shell.call("retry", handle.id, "flaky", "--as", "bo")).code
    await shell.done("retry", handle.id, "flaky")
    assert (await shell.done("show", handle.id, "--mermaid")).out.startswith("flowchart")

    assert {"said": "flaky said"} == await shell.result(handle)


async def test_a_result_by_hand_must_fit_the_prompt(shell: Shell) -> None:
    """A field that the prompt does not have is refused before anything is signed."""
    handle, _ = await shell.start(await published(shell.stage, "override", BROKEN), "blocked")

    wrong = await shell.call("override", handle.id, "broken", "--result", "txt=hello")
    assert (2, "did you mean 'text'") == (wrong.code, wrong.err[wrong.err.find("did") : wrong.err.find("?")])
    await shell.done("override", handle.id, "broken", "--result", "text=by hand")

    assert {"said": "by hand"} == await shell.result(handle)


async def test_a_result_by_hand_must_fit_the_tool(shell: Shell) -> None:
    """A tool's result is checked against its output schema, whole."""
    handle, _ = await shell.start(await published(shell.stage, "tool", SEND), "blocked")

    for given in (["message_id=<1>"], ["message_id=<1>", "delivered_to=x", "more=1"]):
        results = [part for pair in given for part in ("--result", pair)]
        assert 2 == (await shell.call("override", handle.id, "send", *results)).code
    await shell.done(
        "override", handle.id, "send", "--result", "message_id=<1>", "--result", "delivered_to=a@b.example"
    )

    assert {"said": "a@b.example"} == await shell.result(handle)


async def test_a_question_that_expired_is_answered_by_hand(shell: Shell) -> None:
    """An operator's answer must fit the form; it is the question's result, by name."""
    graph = await published(shell.stage, "expired", ASK.replace("EXPIRES", "1s"))
    async with keeping(shell.stage, QUICK):
        handle, _ = await shell.start(graph, "blocked")

    wrong = await shell.call("override", handle.id, "ask", "--result", "decision=approve")
    assert (2, True) == (wrong.code, "fields are amount, why" in wrong.err), wrong
    answer = ("--result", "decision=approve", "--result", 'answer={"amount": 7}')
    await shell.done("override", handle.id, "ask", *answer)

    assert {"said": "approve"} == await shell.result(handle)
    path = (await shell.done("show", handle.id, "--json")).fields["path"]
    assert isinstance(path, list)
    assert {"node": "ask", "visit": 1, "status": "overridden"} in path


async def test_a_question_is_answered_with_its_form(shell: Shell) -> None:
    """Fields that the form does not have, or of another type, are refused; the answer is on record."""
    graph = await published(shell.stage, "answer", ASK.replace("EXPIRES", "1h"))
    handle, wait = await shell.start(graph, "approval")

    refusals = [
        await shell.call("approve", wait["ref"]),
        await shell.call("approve", wait["ref"], "--answer", "amount=many"),
        await shell.call("approve", wait["ref"], "--answer", "amuont=3"),
        await shell.call("approve", wait["ref"], "--set", "amount=3"),
        await shell.call("approve", wait["ref"], "--answer", "amount=3", "--as", "bo"),
    ]
    assert [2, 2, 2, 2, 1] == [one.code for one in refusals], refusals
    await shell.done("approve", wait["ref"], "--answer", "amount=3", "--answer", "why=broken hopper")

    assert {"said": "approve"} == await shell.result(handle)
    trace = (await shell.done("audit", "trace", handle.id, "--json")).out
    assert "broken hopper" in trace


async def test_a_run_is_at_the_node_whose_call_is_out(shell: Shell) -> None:
    """A model that takes its time is where the run is, and not the node that has finished before it."""
    graph = await published(shell.stage, "at", f"one: {SPEAKS}", f"slow: {SPEAKS}")
    handle = await shell.stage.start(graph, {"text": "hello", "email": "mia@example.com"})
    await out(shell.stage, handle.id, "slow")

    async with shell.stage.api.connection() as connection:
        assert "slow" == (await standing(connection, [handle.id]))[handle.id]["node"]
    assert "slow" == await at_between_two_calls(shell.stage, handle.id, "slow")
    await shell.done("abort", handle.id)
    await shell.ends(handle)


async def at_between_two_calls(stage: Stage, run: str, node: str) -> str:
    """Where the run is once this call of the node is answered and its next has not left; nothing of it is kept."""
    sql = "update calls set status = 'done', ended_at = clock_timestamp() where run = %(run)s and node = %(node)s"
    async with stage.owner.connection() as connection:
        answered = Transaction(connection)
        await answered.trip([Query("answered", sql, {"run": run, "node": node})])
        found = await standing(connection, [run])
        await answered.rollback()
    return str(found[run]["node"])


async def out(stage: Stage, run: str, node: str) -> None:
    """Until a call of this node has left."""
    asked = "select 1 from calls where run = %(run)s and node = %(node)s and status = 'intended'"
    for _ in range(1200):
        if await stage.sql(asked, run=run, node=node):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"no call of {node} ever left")


async def test_who_denies_is_told_where_to_look(shell: Shell) -> None:
    """Whether the run goes on is the graph's to say, so the command does not claim it."""
    handle, wait = await shell.start(await published(shell.stage, "denied", ASK.replace("EXPIRES", "1h")), "approval")

    async with shell.stage.api.connection() as connection:
        assert "ask" == (await standing(connection, [handle.id]))[handle.id]["node"]
    said = await shell.done("deny", wait["ref"], "--reason", "the photos are missing")

    assert f"what follows: vertebra show {handle.id}" in said.out
    assert "goes on" not in said.out
    assert {"said": "deny"} == await shell.result(handle)


@pytest.mark.parametrize(("word", "state"), [("abort", "aborted"), ("cancel", "cancelled")])
async def test_a_waiting_run_is_ended(shell: Shell, word: str, state: str) -> None:
    """With a reason, by an operator; what it asked is withdrawn, and nobody may command it any more."""
    graph = await published(shell.stage, word, ASK.replace("EXPIRES", "1h"))
    handle, wait = await shell.start(graph, "approval")

    assert 1 == (await shell.call(word, handle.id, "--as", "mallory")).code
    await shell.done(word, handle.id, "--reason", "wrong customer")

    assert state == (await shell.ends(handle))["state"]
    assert 1 == (await shell.call("approve", wait["ref"], "--answer", "amount=3")).code
    assert 1 == (await shell.call(word, handle.id)).code


async def test_rights_are_listed_renewed_and_revoked(shell: Shell) -> None:
    """The spine's own context comes first; renewal needs an operator, revocation an admin."""
    graph = await published(shell.stage, "rights", ASK.replace("EXPIRES", "1h"))
    handle, wait = await shell.start(graph, "approval")

    before = (await shell.done("contexts", "list", handle.id, "--json")).json
    assert isinstance(before, list)
    assert [("", "holds"), ("speaker", "holds")] == [
        (one["agent"] or "", one["state"]) for one in before if isinstance(one, dict)
    ]
    assert 2 == (await shell.call("contexts", "renew", handle.id, "--for", "8h", "--context", "nope")).code
    await shell.done("contexts", "renew", handle.id, "--for", "8h")
    await _renewed(shell, handle.id, json.dumps(before))

    agent = next(str(one["id"]) for one in before if isinstance(one, dict) and one["agent"] == "speaker")
    assert 1 == (await shell.call("contexts", "revoke", agent, "--reason", "it leaks")).code
    mistyped = await shell.call("contexts", "revoke", f"{agent}X", "--reason", "it leaks", "--as", "rory")
    assert (2, "", True) == (mistyped.code, mistyped.out, "nothing was revoked" in mistyped.err)
    await shell.done("contexts", "revoke", agent, "--reason", "it leaks", "--as", "rory")
    assert "revoked: it leaks" in (await shell.done("contexts", "list", handle.id)).out
    await shell.done("approve", wait["ref"], "--answer", "amount=3")
    blocked = await waiting(handle.id, shell.stage, "blocked")
    assert "it leaks" in bytes(blocked["error"]).decode()
    await shell.done("abort", handle.id)


async def _renewed(shell: Shell, run: str, before: str) -> None:
    """Until the run has looked at the renewal."""
    for _ in range(1200):
        now = (await shell.done("contexts", "list", run, "--json")).json
        if json.dumps(now) != before:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nothing was renewed")


async def test_a_decision_counts_though_temporal_is_away(shell: Shell) -> None:
    """It is signed and written; the command says that nothing is lost, and the keeper wakes the run later."""
    graph = await published(shell.stage, "away", ASK.replace("EXPIRES", "1h"))
    handle, wait = await shell.start(graph, "approval")
    away = replace(shell, environ={**shell.environ, "VERTEBRA_TEMPORAL_ADDRESS": "127.0.0.1:9"})

    said = await away.done("approve", wait["ref"], "--answer", "amount=3", "--json")

    assert (False, "approve") == (said.fields["woken"], said.fields["verb"])
    assert "Temporal was not reached" in said.err
    assert (await row_of(handle.id, shell.stage))["ended_at"] is None

    async with keeping(shell.stage, QUICK):
        assert {"said": "approve"} == await shell.result(handle)


async def test_a_terminated_run_is_resumed(shell: Shell) -> None:
    """Ended by Temporal's own tools, taken up under the same id, asked anew, and nothing is bought twice."""
    handle, _ = await shell.start(
        await published(shell.stage, "resume", BROKEN, ASK.replace("EXPIRES", "1h")), "blocked"
    )
    await shell.done("override", handle.id, "broken", "--result", "text=by hand")
    first = await waiting(handle.id, shell.stage, "approval")
    await handle.terminate("a test")

    async with keeping(shell.stage, QUICK):
        assert "terminated" == (await shell.ends(handle))["state"]
        assert "terminated" in (await shell.done("runs", "list", "--state", "terminated")).out
        await shell.done("resume", handle.id)
        second = await _asked_anew(shell, handle.id, first["ref"])
        await shell.done("approve", second, "--answer", "amount=3")
        assert {"said": "approve"} == await shell.result(handle)
    refused = await shell.call("resume", handle.id)
    assert (1, True) == (refused.code, "nothing to resume" in refused.err)


async def _asked_anew(shell: Shell, run: str, before: str) -> str:
    for _ in range(1200):
        rows = (await shell.done("approvals", "list", "--run", run, "--json")).json
        assert isinstance(rows, list)
        new = [str(row["id"]) for row in rows if isinstance(row, dict) and row["id"] != before]
        if new:
            return new[0]
        await asyncio.sleep(0.05)
    raise AssertionError("nothing was asked anew")
