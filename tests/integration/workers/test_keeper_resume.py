"""Ended runs go on under their own id, with and without history, by signed commands alone; nothing is bought twice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError

from tests.integration.runs.waits import Handle, ended, row_of, waiting
from tests.integration.workers.desk import Cut, asks, delete, go_on, office, operations, resume, told, until
from tests.stage import Stage
from vertebra.schemas.graph import CompiledGraph
from vertebra.workers.keeper import executions, unseen
from vertebra.workers.keeper import resume as duty

pytestmark = pytest.mark.server

ATTEMPTS = """
select a.n, a.state from attempts a join calls c on c.id = a.call
where c.run = %(run)s and c.node = 'slow' order by a.n
"""
LOST = "00000000-0000-4000-8000-000000000000"

GRAPH = """
graph: resumed
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, tokens: 1000000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  one: {agent: speaker, input: {text: input.text}}
  broken: {agent: speaker, input: {text: input.text}, retry: {max_attempts: 1, backoff: 10ms}}
  two: {agent: speaker, input: {text: input.text}, write: {said: text}}
edges:
  - one -> broken
  - broken -> two
"""


@pytest.fixture(scope="module")
async def graph(stage: Stage) -> CompiledGraph:
    made = stage.compile(GRAPH)
    await stage.publish(made)
    return made


async def parked(stage: Stage, graph: CompiledGraph) -> Handle:
    """A run that has bought one reply and is blocked."""
    handle = await stage.start(graph, {"text": "x"})
    await waiting(handle.id, stage, "blocked")
    return handle


async def terminated(stage: Stage, graph: CompiledGraph) -> Handle:
    """Such a run, terminated from outside and seen."""
    handle = await parked(stage, graph)
    await handle.terminate(reason="by hand")
    place = await row_of(handle.id, stage)
    found = await executions.standing(stage.client, handle.id, place["chain"], place["execution_id"])
    assert await unseen.close_unseen(office(stage), place, found)
    return handle


async def finish(stage: Stage, run: str) -> tuple[dict[str, object], Any]:
    """Answer the block of a resumed run, and wait for its end."""
    await waiting(run, stage, "blocked")
    await stage.command(run, "override", "broken", 1, arguments={"text": "by hand"})
    return await ended(stage.client.get_workflow_handle(run), stage)


async def test_a_terminated_run_goes_on_by_a_reset(stage: Stage, graph: CompiledGraph) -> None:
    """While Temporal holds the history, the chain stays, one epoch later, and what was bought is not bought again."""
    handle = await terminated(stage, graph)
    before = await row_of(handle.id, stage)
    assert ("terminated", 0) == (before["state"], before["epoch"])

    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    output, run = await finish(stage, handle.id)

    assert {"said": "two said"} == output
    assert (before["chain"], 1, "completed") == (run["chain"], run["epoch"], run["state"])
    assert before["execution_id"] != run["execution_id"]
    assert ["one", "two"] == [sale["node"] for sale in stage.bought(handle.id)]
    said = [name for name in await operations(stage, handle.id) if name in ("run_start", "run_end", "resumed")]
    assert ["run_start", "run_end", "resumed", "run_end"] == said


async def test_a_withdrawn_question_is_asked_again(stage: Stage) -> None:
    """Nobody can decide for an ended run; the resumed one asks in a new round, and that answer counts."""
    text = GRAPH.split("agents:")[0].replace("graph: resumed", "graph: asks-again") + (
        "nodes:\n  ask: {type: human, show: {text: input.text}, assign: [support_lead]}\n"
    )
    graph = stage.compile(text)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "x"})
    first = await waiting(handle.id, stage, "approval")
    await handle.terminate(reason="by hand")
    place = await row_of(handle.id, stage)
    found = await executions.standing(stage.client, handle.id, place["chain"], place["execution_id"])
    assert await unseen.close_unseen(office(stage), place, found)

    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    await until(lambda: asks_again(stage, handle.id, first["ref"]))
    second = await waiting(handle.id, stage, "approval")
    await stage.decide(second["ref"], "approve")
    _, run = await ended(stage.client.get_workflow_handle(handle.id), stage)

    assert "completed" == run["state"]
    rows = await stage.sql("select round, state from approvals where run = %(id)s order by round", id=handle.id)
    assert [(1, "withdrawn"), (2, "approved")] == [(row["round"], row["state"]) for row in rows]


async def asks_again(stage: Stage, run: str, first: str) -> bool:
    rows = await stage.sql("select ref from waits where run = %(run)s and kind = 'approval'", run=run)
    return bool(rows) and rows[0]["ref"] != first


async def test_a_run_without_history_is_started_again(stage: Stage, graph: CompiledGraph) -> None:
    """Where the history is gone the same id starts anew in a new chain, and the journal answers."""
    handle = await terminated(stage, graph)
    before = await row_of(handle.id, stage)
    await delete(stage, handle.id)

    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    output, run = await finish(stage, handle.id)

    assert {"said": "two said"} == output
    assert before["chain"] != run["chain"]
    assert (1, "completed") == (run["epoch"], run["state"])
    assert ["one", "two"] == [sale["node"] for sale in stage.bought(handle.id)]


async def test_a_history_of_another_chain_is_not_resumed(stage: Stage, graph: CompiledGraph) -> None:
    """An execution that only has the id is no history of the run: the run is started again beside it."""
    handle = await terminated(stage, graph)
    await stage.sql(
        "update runs set chain = 'lost', execution_id = %(lost)s where id = %(id)s", id=handle.id, lost=LOST
    )

    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    output, run = await finish(stage, handle.id)

    assert {"said": "two said"} == output
    assert "lost" != run["chain"]
    assert ["one", "two"] == [sale["node"] for sale in stage.bought(handle.id)]


async def test_an_aborted_run_does_not_die_of_the_same_abort_again(stage: Stage, graph: CompiledGraph) -> None:
    """The abort binds to its epoch; the reset goes back before the task that read it."""
    handle = await parked(stage, graph)
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 90)
    assert "aborted" == (await row_of(handle.id, stage))["state"]

    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    output, run = await finish(stage, handle.id)

    assert {"said": "two said"} == output
    assert 1 == run["epoch"]


async def test_a_call_in_flight_is_made_again_and_its_first_attempt_stays_held(stage: Stage) -> None:
    """The reset goes to the task that scheduled it; what was bought before is answered by the journal."""
    text = GRAPH.replace("graph: resumed", "graph: resumed-slow").replace("broken", "slow")
    graph = stage.compile(text)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "x"})

    async def attempts() -> list[tuple[int, str]]:
        rows = await stage.sql(ATTEMPTS, run=handle.id)
        return [(row["n"], row["state"]) for row in rows]

    async def is_in_flight() -> bool:
        return await attempts() == [(1, "held")]

    async def is_sent_again() -> bool:
        return await attempts() == [(1, "unknown"), (2, "held")]

    await until(is_in_flight)
    await handle.terminate(reason="by hand")
    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    await until(is_sent_again)

    assert ["one"] == [sale["node"] for sale in stage.bought(handle.id)]
    await stage.client.get_workflow_handle(handle.id).terminate()


async def test_a_run_that_ended_unseen_is_closed_before_it_is_resumed(stage: Stage, graph: CompiledGraph) -> None:
    """Whoever resumes right after a termination need not wait until the keeper has noticed it."""
    handle = await parked(stage, graph)
    await handle.terminate(reason="by hand")

    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    _, run = await finish(stage, handle.id)

    assert (1, "completed") == (run["epoch"], run["state"])
    ends = [entry["outcome"] for entry in await told(stage, handle.id) if entry["operation"] == "run_end"]
    assert ["terminated", "completed"] == ends


async def test_a_run_is_resumed_as_often_as_it_ends(stage: Stage, graph: CompiledGraph) -> None:
    """Each command is carried out once, also where a reset execution is reset again."""
    handle = await parked(stage, graph)
    for _ in range(2):
        await stage.client.get_workflow_handle(handle.id).terminate(reason="by hand")
        await resume(stage, handle.id)
        await go_on(stage, handle.id)
        await waiting(handle.id, stage, "blocked")

    _, run = await finish(stage, handle.id)

    assert (2, "completed") == (run["epoch"], run["state"])


async def test_two_commands_at_once_resume_once(stage: Stage, graph: CompiledGraph) -> None:
    """A double click opens the row once; the other command is a wake, or refused as one of an earlier epoch."""
    handle = await terminated(stage, graph)
    await resume(stage, handle.id)
    await resume(stage, handle.id)

    await asyncio.gather(duty.do(office(stage)), duty.do(office(stage)), return_exceptions=True)
    await go_on(stage, handle.id)
    _, run = await finish(stage, handle.id)

    assert (1, "completed") == (run["epoch"], run["state"])
    assert 1 == (await operations(stage, handle.id)).count("resumed")


async def test_a_resume_of_a_live_run_is_a_wake(stage: Stage, graph: CompiledGraph) -> None:
    """Nothing is reopened, reset or started: the run looks again."""
    handle = await parked(stage, graph)
    before = await row_of(handle.id, stage)

    await resume(stage, handle.id)
    await go_on(stage, handle.id)

    after = await row_of(handle.id, stage)
    assert (before["chain"], before["execution_id"], 0) == (after["chain"], after["execution_id"], after["epoch"])
    assert "command_resume" in await operations(stage, handle.id)
    await handle.terminate()


async def test_a_completed_run_is_not_resumed(stage: Stage, graph: CompiledGraph) -> None:
    """The command is refused, on record, and the row stays closed."""
    handle = await parked(stage, graph)
    await finish(stage, handle.id)

    await resume(stage, handle.id)
    await go_on(stage, handle.id)

    assert "completed" == (await row_of(handle.id, stage))["state"]
    assert "completed runs are not resumed" in str((await told(stage, handle.id))[-1]["error"])


@pytest.mark.parametrize(
    ("by", "fields", "reason"),
    [
        ("mallory", {}, "needs the role 'operator'"),
        ("ada", {"run": "another-run"}, "signed for something else"),
        ("ada", {"verb": "retry"}, "signed for something else"),
        ("ada", {"expires_at": "2026-01-01T00:00:00.000000Z"}, "expired"),
    ],
)
@pytest.mark.attack
async def test_a_command_that_does_not_count_opens_nothing(
    stage: Stage, graph: CompiledGraph, by: str, fields: dict[str, object], reason: str
) -> None:
    """Another role, another run or verb signed, an expired signature: refused, on record, once."""
    handle = await terminated(stage, graph)
    command = await stage.command(handle.id, "resume", by=by, wake=False)
    statement = stage.statement("command", by, id=command, run=handle.id, epoch=0, verb="resume")
    forged = stage.signed(statement.model_copy(update=fields), by)
    await stage.sql(
        "update commands set statement = %(statement)s, signature = %(signature)s where id = %(id)s",
        id=command,
        statement=forged["statement"],
        signature=forged["signature"],
    )
    await asks(stage, handle.id, command)

    await go_on(stage, handle.id)

    run = await row_of(handle.id, stage)
    assert ("terminated", 0) == (run["state"], run["epoch"])
    refused = [entry for entry in await told(stage, handle.id) if entry["operation"] == "command_refused"]
    assert [True] == [reason in str(entry["error"]) for entry in refused]


@pytest.mark.attack
async def test_a_signature_of_another_epoch_does_not_count(stage: Stage, graph: CompiledGraph) -> None:
    """Whoever kept an old command cannot resume the run with it later."""
    handle = await terminated(stage, graph)
    old = await stage.command(handle.id, "resume", wake=False)
    await stage.sql("update runs set epoch = 3 where id = %(id)s", id=handle.id)
    await asks(stage, handle.id, old)

    await go_on(stage, handle.id)

    assert "terminated" == (await row_of(handle.id, stage))["state"]
    assert "epoch" in str((await told(stage, handle.id))[-1]["error"])


@pytest.mark.parametrize("method", ["reset_workflow_execution", "describe_workflow_execution"])
async def test_a_resume_that_was_cut_is_carried_out_later(stage: Stage, graph: CompiledGraph, method: str) -> None:
    """The row is opened once, however often Temporal has to be asked; meanwhile nobody closes it again."""
    handle = await terminated(stage, graph)
    await resume(stage, handle.id)
    cut = dataclasses.replace(office(stage), client=cast(Client, Cut(stage.client, method, 1)))
    with pytest.raises(RPCError):
        await duty.do(cut)
    await unseen.do(office(stage))

    await go_on(stage, handle.id)
    _, run = await finish(stage, handle.id)

    assert (1, "completed") == (run["epoch"], run["state"])
    assert 1 == (await operations(stage, handle.id)).count("resumed")
    assert ["one", "two"] == [sale["node"] for sale in stage.bought(handle.id)]


class Stopped:
    """A client whose process stands still before it reads a history, while something else is done."""

    def __init__(self, client: Client, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._client, self._meanwhile = client, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_workflow_handle(self, run: str, **given: Any) -> Any:
        return Stopped(cast(Client, self._client.get_workflow_handle(run, **given)), self._meanwhile)

    async def fetch_history_events(self, **given: Any) -> AsyncIterator[Any]:
        await self._meanwhile()
        async for event in cast(Any, self._client).fetch_history_events(**given):
            yield event


async def test_a_keeper_that_stood_still_resets_no_later_life_of_the_run(stage: Stage, graph: CompiledGraph) -> None:
    """While it stood another one carried out its command, and the run has ended and was resumed since: it lives on."""
    handle = await terminated(stage, graph)
    await resume(stage, handle.id)
    lives: list[str | None] = []

    async def meanwhile() -> None:
        await go_on(stage, handle.id)
        await waiting(handle.id, stage, "blocked")
        await stage.client.get_workflow_handle(handle.id).terminate(reason="again")
        place = await row_of(handle.id, stage)
        found = await executions.standing(stage.client, handle.id, place["chain"], place["execution_id"])
        assert await unseen.close_unseen(office(stage), place, found)
        await resume(stage, handle.id)
        await go_on(stage, handle.id)
        lives.append((await stage.client.get_workflow_handle(handle.id).describe()).run_id)

    await duty.do(dataclasses.replace(office(stage), client=cast(Client, Stopped(stage.client, meanwhile))))
    _, run = await finish(stage, handle.id)

    assert (2, "completed") == (run["epoch"], run["state"])
    assert lives == [(await stage.client.get_workflow_handle(handle.id).describe()).run_id]


POOR = (
    GRAPH.replace("graph: resumed", "graph: poor")
    .replace("usd: 1.00, tokens: 1000000, on_breach: reject", "usd: 1.00, tokens: 10, on_breach: abort")
    .replace("  - one -> broken\n  - broken -> two\n", "  - one -> two\n")
    .replace("  broken: {agent: speaker, input: {text: input.text}, retry: {max_attempts: 1, backoff: 10ms}}\n", "")
)


async def test_money_given_to_an_aborted_run_is_there_before_its_first_call(stage: Stage) -> None:
    """A breach that aborts, a top-up, a resume: the run goes on, and does not die of the old limit again."""
    graph = stage.compile(POOR)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "x"})
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 90)
    assert "aborted" == (await row_of(handle.id, stage))["state"]

    await stage.command(handle.id, "top_up", arguments={"tokens": 100_000}, wake=False)
    await resume(stage, handle.id)
    await go_on(stage, handle.id)
    output, run = await ended(stage.client.get_workflow_handle(handle.id), stage)

    assert {"said": "two said"} == output
    assert 100_010 == run["limit_tokens"]
    said = [name for name in await operations(stage, handle.id) if name in ("command_top_up", "resumed")]
    assert ["command_top_up", "resumed"] == said
