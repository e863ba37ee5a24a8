"""What the shell does beside the happy path: forks, people, failures, ends, large values, continued runs."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError

from tests.integration.runs.waits import blocked, ended, looked, row_of, tasks, waiting
from tests.stage import Stage
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import RUNS

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
"""


async def published(stage: Stage, name: str, body: str) -> CompiledGraph:
    """A graph of this body, published."""
    graph = stage.compile(HEAD.format(name=name) + body)
    await stage.publish(graph)
    return graph


def speaks(node: str, write: bool = False, extra: str = "") -> str:
    writes = ", write: {said: text}" if write else ""
    return f"  {node}: {{agent: speaker, input: {{text: input.text}}{writes}{extra}}}\n"


async def test_parallel_branches_meet_in_a_join(stage: Stage) -> None:
    """Both branches run once, and the join goes on after both."""
    body = "nodes:\n" + speaks("one") + speaks("two") + speaks("three") + speaks("after", write=True)
    graph = await published(
        stage, "forks", body + "edges:\n  - one -> two, three\n  - two, three -> after: {join: all}\n"
    )

    output, _ = await ended(await stage.start(graph, {"text": "x"}, run="forks-1"), stage)

    assert {"said": "after said"} == output
    assert {"one#1", "two#1", "three#1", "after#1"} == set(await tasks("forks-1", stage))
    assert 4 == len(stage.bought("forks-1"))


async def test_a_plain_client_starts_a_graph_that_names_a_principal(stage: Stage) -> None:
    """The input alone, from anybody's client, runs as the service that the published graph names."""
    graph = await published(stage, "bare", "nodes:\n" + speaks("one", write=True))

    output, run = await ended(await stage.start_raw(graph.name, "bare-1", {"text": "x"}), stage)

    assert {"said": "one said"} == output
    assert ("svc-support", "temporal") == (run["principal"], run["started_by"])


async def test_a_person_answers_a_question(stage: Stage) -> None:
    """A human node's decision is its result, and authorises nothing."""
    body = (
        "nodes:\n  ask:\n    type: human\n    show: {text: input.text}\n    assign: [support_lead]\n"
        + speaks("one", write=True)
        + "edges:\n  - ask -> one: {when: \"ask.decision == 'approve'\"}\n  - ask -> end: {else: true}\n"
    )
    graph = await published(stage, "asks", body)
    handle = await stage.start(graph, {"text": "may I?"})
    wait = await waiting(handle.id, stage, "approval")

    await stage.decide(wait["ref"], "approve")
    output, _ = await ended(handle, stage)

    assert {"said": "one said"} == output


async def test_a_failure_that_counts_is_tried_three_times_then_blocks(stage: Stage) -> None:
    """Attempts that failed are counted by rows; a retry opens the call and counts anew; override goes on by hand."""
    body = "nodes:\n" + speaks("broken", write=True, extra=", retry: {max_attempts: 2, backoff: 10ms}")
    graph = await published(stage, "breaks", body)
    handle = await stage.start(graph, {"text": "x"})
    blocked = await waiting(handle.id, stage, "blocked")
    assert 2 == len(await stage.sql("select 1 from attempts where run = %(id)s", id=handle.id))

    await stage.command(handle.id, "retry", "broken", 1)
    for _ in range(1200):
        if len(await stage.sql("select 1 from attempts where run = %(id)s", id=handle.id)) == 4:
            break
        await asyncio.sleep(0.05)
    await waiting(handle.id, stage, "blocked")
    await stage.command(handle.id, "override", "broken", 1, arguments={"text": "by hand"})
    output, run = await ended(handle, stage)

    assert {"said": "by hand"} == output
    assert "ProviderServer" in bytes(blocked["error"]).decode()
    assert (0, 0) == (run["held_microusd"], run["spent_microusd"])


async def test_one_retry_answers_one_block(stage: Stage) -> None:
    """A node that blocks again after a retry waits for another one, and does not go round by itself."""
    body = "nodes:\n" + speaks("broken", write=True, extra=", retry: {max_attempts: 1}")
    graph = await published(stage, "rounds", body)
    handle = await stage.start(graph, {"text": "x"})
    await blocked(handle.id, stage, 1)

    await stage.command(handle.id, "retry", "broken", 1)
    await blocked(handle.id, stage, 2)
    await looked(handle.id, stage)

    assert 2 == len(await stage.sql("select 1 from attempts where run = %(id)s", id=handle.id))
    await stage.command(handle.id, "abort")


async def test_a_flaky_model_is_asked_again(stage: Stage) -> None:
    """One failed attempt, then an answer: one sale, two attempts."""
    body = "nodes:\n" + speaks("flaky", write=True, extra=", retry: {max_attempts: 3, backoff: 10ms}")
    graph = await published(stage, "flakes", body)

    output, _ = await ended(await stage.start(graph, {"text": "x"}, run="flakes-1"), stage)

    assert {"said": "flaky said"} == output
    rows = await stage.sql("select state, class from attempts where run = 'flakes-1' order by n")
    assert [("released", "ProviderServer"), ("settled", None)] == [(row["state"], row["class"]) for row in rows]


async def test_abort_ends_a_waiting_run(stage: Stage) -> None:
    """A signed abort ends the run as aborted, by the person who signed."""
    graph = await published(stage, "aborts", "nodes:\n" + speaks("broken", extra=", retry: {max_attempts: 1}"))
    handle = await stage.start(graph, {"text": "x"})
    await waiting(handle.id, stage, "blocked")

    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(handle.result(), 90)

    assert isinstance(failure.value.cause, ApplicationError)
    assert "Aborted" == failure.value.cause.type
    assert "aborted" == (await row_of(handle.id, stage))["state"]


async def test_cancel_from_temporals_own_tools_is_obeyed_and_recorded(stage: Stage) -> None:
    """A call in flight is cancelled, its money is held as unknown, and the record names temporal."""
    graph = await published(stage, "cancels", "nodes:\n" + speaks("slow"))
    handle = await stage.start(graph, {"text": "x"})
    for _ in range(1200):
        if await stage.sql("select 1 from attempts where run = %(id)s", id=handle.id):
            break
        await asyncio.sleep(0.05)

    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(handle.result(), 90)

    assert isinstance(failure.value.cause, CancelledError)
    run = await row_of(handle.id, stage)
    assert "cancelled" == run["state"]
    [attempt] = await stage.sql("select state from attempts where run = %(id)s", id=handle.id)
    assert "unknown" == attempt["state"]
    [entry] = await stage.sql(
        "select convert_from(body, 'UTF8')::jsonb ->> 'actor' as actor from audit where stream = %(id)s"
        " order by seq desc limit 1",
        id=handle.id,
    )
    assert "temporal" == entry["actor"]


async def test_a_large_result_travels_by_reference(stage: Stage) -> None:
    """100 kB pass from node to node with a history of a few kB."""
    body = (
        "nodes:\n"
        + speaks("long")
        + "  after: {agent: speaker, input: {text: long.text}, write: {said: text}}\nedges:\n  - long -> after\n"
    )
    graph = await published(stage, "large", body)

    output, _ = await ended(handle := await stage.start(graph, {"text": "x"}), stage)

    assert {"said": "after said"} == output
    history = await handle.fetch_history()
    assert 60_000 > sum(event.ByteSize() for event in history.events)


async def test_an_input_and_an_output_too_large_for_history_travel_by_reference(stage: Stage) -> None:
    """300 kB go into a call and come out of the run as artifacts; nothing is cut, nothing ends the run."""
    body = "nodes:\n" + speaks("one") + "  copy: {type: rules, default: {text: input.text}, write: {said: text}}\n"
    graph = await published(stage, "huge", body + "edges:\n  - one -> copy\n")

    output, run = await ended(handle := await stage.start(graph, {"text": "y" * 300_000}), stage)

    assert ["artifact"] == list(output)
    stored = await stage.world.artifacts.get("default", run["output_artifact"])
    assert {"said": "y" * 300_000} == json.loads(stored)
    [sale] = stage.bought(handle.id)
    assert "one" == sale["node"]


@pytest.mark.timeout(480)
@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_run_that_was_signalled_often_continues_as_new(stage: Stage, size: int) -> None:
    """After 2,000 signals the parked run goes on in a new execution of its chain, and still hears the decision.

    What it knows travels in the argument, or as an artifact where it is too large for that.
    """
    body = "nodes:\n  ask: {type: human, show: {text: {value: may I?}}, assign: [support_lead]}\n"
    body += "  copy: {type: rules, default: {text: input.text}, write: {said: text}}\nedges:\n  - ask -> copy\n"
    graph = await published(stage, "signalled", body)
    handle = await stage.start(graph, {"text": "x" * size})
    wait = await waiting(handle.id, stage, "approval")
    first = (await handle.describe()).run_id

    for _ in range(21):
        await asyncio.gather(*(handle.signal("anything", "at all") for _ in range(100)))
    for _ in range(1500):
        if (await stage.client.get_workflow_handle(handle.id).describe()).run_id != first:
            break
        await asyncio.sleep(0.1)
    described = await stage.client.get_workflow_handle(handle.id).describe()
    await stage.decide(wait["ref"], "approve")
    output, run = await ended(stage.client.get_workflow_handle(handle.id), stage)

    assert first != described.run_id
    if size > 1:
        output = json.loads(await stage.world.artifacts.get("default", run["output_artifact"]))
    assert {"said": "x" * size} == output
    assert first == run["chain"]


async def test_a_fan_out_of_200_is_scheduled_in_portions(stage: Stage) -> None:
    """More branches than may be pending at once all run, each once."""
    names = [f"n{number:03}" for number in range(200)]
    body = "nodes:\n  first: {type: rules, default: {ok: {value: true}}}\n" + "".join(speaks(name) for name in names)
    body += "  rest: {type: rules, default: {ok: {value: true}}}\n"
    body += f"edges:\n  - first -> {', '.join(names)}\n  - ? {', '.join(names)} -> rest\n    : {{join: all}}\n"
    graph = await published(stage, "fans", body)

    await ended(await stage.start(graph, {"text": "x"}, run="fans-1"), stage)

    assert 200 == len(stage.bought("fans-1"))


async def test_a_fan_out_of_large_inputs_is_scheduled_in_portions(stage: Stage) -> None:
    """Branches whose inputs together are more than one message to Temporal holds, which would hang the run, all run."""
    names, text = [f"n{number:03}" for number in range(75)], "x" * 60_000
    body = "nodes:\n  first: {type: rules, default: {ok: {value: true}}}\n" + "".join(speaks(name) for name in names)
    body += "  rest: {type: rules, default: {ok: {value: true}}}\n"
    body += f"edges:\n  - first -> {', '.join(names)}\n  - ? {', '.join(names)} -> rest\n    : {{join: all}}\n"
    head = HEAD.format(name="fans-large").replace("usd: 1.00, tokens: 1000000", "usd: 9.00, tokens: 9000000")
    graph = stage.compile(head + body)
    await stage.publish(graph)

    await ended(await stage.start(graph, {"text": text}, run="fans-large-1"), stage)

    assert 4 * 1024 * 1024 < len(names) * len(text)
    assert len(names) == len(stage.bought("fans-large-1"))


async def test_a_run_that_temporal_itself_tries_again_has_its_input(stage: Stage) -> None:
    """A stranger's start may have time limits and retries of Temporal's own: the next execution begins from the row."""
    body = "nodes:\n  ask:\n    type: human\n    show: {text: input.text}\n    assign: [support_lead]\n"
    graph = await published(stage, "tried-again", body + speaks("one", write=True) + "edges:\n  - ask -> one\n")
    handle = await stage.client.start_workflow(
        graph.name, {"text": "x"}, id="tried-again-1", task_queue=RUNS, run_timeout=timedelta(seconds=8),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1)),
    )  # fmt: skip
    wait = await waiting(handle.id, stage, "approval")
    newest = stage.client.get_workflow_handle(handle.id)
    for _ in range(600):
        if (await newest.describe()).run_id != handle.first_execution_run_id:
            break
        await asyncio.sleep(0.1)

    await stage.decide(wait["ref"], "approve")
    output, _ = await ended(newest, stage)

    assert {"said": "one said"} == output


async def test_a_run_that_computes_for_a_while_is_not_taken_for_hung(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of three seconds, as many signals or a busy machine make it, is one workflow task, and no failed one."""
    body = "nodes:\n  copy: {type: rules, default: {text: input.text}, write: {said: text}}\n"
    graph = await published(stage, "computes", body)
    engine = importlib.import_module("vertebra.engine.advance")
    real = engine.advance

    def slow(*given: Any) -> Any:
        time.sleep(3)
        return real(*given)

    monkeypatch.setattr(engine, "advance", slow)
    output, _ = await ended(handle := await stage.start(graph, {"text": "x"}), stage)

    assert {"said": "x"} == output
    history = await handle.fetch_history()
    assert not [event for event in history.events if event.HasField("workflow_task_failed_event_attributes")]
