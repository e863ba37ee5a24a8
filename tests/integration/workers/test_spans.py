"""What a collector is told about real runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from temporalio.worker import Replayer

from tests.integration.runs.waits import waiting
from tests.integration.workers.collector import Collector, attributes, collecting
from tests.integration.workers.desk import office
from tests.stage import Stage
from vertebra.schemas.errors import StoreError
from vertebra.schemas.ids import trace_id
from vertebra.workers.keeper.duty import Times
from vertebra.workers.keeper.spans import spans_duty
from vertebra.workers.plugin import plugin
from vertebra.workers.telemetry import genai
from vertebra.workers.telemetry.otlp import Otlp

pytestmark = pytest.mark.server

QUESTION = "Do you sell a basket or adapter for a Copper Zero? CANARY-7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@asynccontextmanager
async def sink(collector: Collector) -> AsyncIterator[Otlp]:
    made = Otlp(collector.url, genai.resource("0", "w-1"))
    yield made
    await made.aclose()


async def tell(stage: Stage, collector: Collector, run: str) -> None:
    """Passes of the duty until this run is told."""
    async with sink(collector) as otlp:
        duty = spans_duty(otlp)
        for _ in range(40):
            await duty.do(office(stage, Times(spans_s=0)))
            [row] = await stage.sql("select done_at from exports where run = %(run)s", run=run)
            if row["done_at"] is not None:
                return
            await stage.sql("update exports set due_at = now() where run = %(run)s", run=run)
    raise AssertionError(f"{run} was never told")


async def answered(stage: Stage) -> str:
    """A run with several models and tools, that completes."""
    handle = await stage.start(stage.support, {"ticket": QUESTION, "email": "mia@example.com"})
    await handle.result()
    return handle.id


async def test_a_run_is_a_tree_of_spans(stage: Stage, collector: Collector) -> None:
    """Run, visits, attempts: each under its parent, inside its time, with conventional names and no content."""
    run = await answered(stage)
    await tell(stage, collector, run)
    found = collector.of(trace_id(run))
    [books] = await stage.sql("select spent_microusd, spent_tokens from runs where id = %(run)s", run=run)

    by_id = {span.span_id: span for span in found}
    assert len(found) == len(by_id)
    [root] = [span for span in found if not span.parent_span_id]
    assert "invoke_workflow customer-support" == root.name
    told = attributes(root)
    assert (books["spent_microusd"], books["spent_tokens"], "completed") == (
        told["vertebra.cost_microusd"], told["vertebra.tokens"], told["vertebra.state"],
    )  # fmt: skip
    for span in found:
        if span is not root:
            parent = by_id[span.parent_span_id]
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano
    names = Counter(span.name.split()[0] for span in found)
    assert {"invoke_workflow", "invoke_agent", "chat", "execute_tool", "node"} == set(names)
    assert all(b"CANARY-7" not in body for body in collector.bodies)
    assert {"vertebra"} == {resource["service.name"] for resource in collector.resources}


async def test_calls_say_agent_role_model_tokens_and_cost(stage: Stage, collector: Collector) -> None:
    """Each model call, and the tool that a model asked for below its agent's visit."""
    run = await answered(stage)
    await tell(stage, collector, run)
    found = {span.span_id: span for span in collector.of(trace_id(run))}

    chats = [attributes(span) for span in found.values() if span.name.startswith("chat")]
    tools = [span for span in found.values() if span.name == "execute_tool search_docs"]
    [calls] = await stage.sql(
        "select count(*) filter (where kind = 'llm') as llm, sum(settled_microusd)::bigint as cost from calls c"
        " join attempts a on a.call = c.id where c.run = %(run)s",
        run=run,
    )

    assert calls["llm"] == len(chats)
    assert calls["cost"] == sum(int(str(one["vertebra.cost_microusd"])) for one in chats)
    classified = next(one for one in chats if one["gen_ai.agent.name"] == "classifier")
    assert ("scripted", "small", "sorts messages") == (
        classified["gen_ai.provider.name"], classified["gen_ai.request.model"], classified["vertebra.agent.role"],
    )  # fmt: skip
    split = int(str(classified["gen_ai.usage.input_tokens"])) + int(str(classified["gen_ai.usage.output_tokens"]))
    assert classified["vertebra.tokens"] == split
    assert tools
    assert {"invoke_agent researcher"} == {found[span.parent_span_id].name for span in tools}


async def test_ten_replays_add_nothing(stage: Stage, collector: Collector) -> None:
    """Replaying a run's history commits nothing, so there is nothing new to tell."""
    run = await answered(stage)
    await tell(stage, collector, run)
    before = len(collector.of(trace_id(run)))
    history = await stage.client.get_workflow_handle(run).fetch_history()

    replayer = Replayer(workflows=[], plugins=[plugin()])
    for _ in range(10):
        await replayer.replay_workflow(history)
    await stage.sql("update exports set done_at = null, due_at = now() where run = %(run)s", run=run)
    await tell(stage, collector, run)

    assert before == len(collector.of(trace_id(run)))


async def test_what_is_told_twice_is_the_same_span(stage: Stage, collector: Collector) -> None:
    """A worker that died between telling and noting it leads to equal spans under equal ids."""
    run = await answered(stage)
    await tell(stage, collector, run)
    first = {span.span_id: span.SerializeToString(deterministic=True) for span in collector.of(trace_id(run))}
    await stage.sql("update exports set seq = 0, done_at = null, due_at = now() where run = %(run)s", run=run)
    await tell(stage, collector, run)

    again = collector.of(trace_id(run))[len(first) :]
    assert first == {span.span_id: span.SerializeToString(deterministic=True) for span in again}


async def test_a_collector_that_is_away_loses_nothing(stage: Stage, collector: Collector) -> None:
    """The run ends as ever, the duty fails and keeps its place, and the collector gets all of it once it is back."""
    collector.refuses = True
    run = await answered(stage)
    await stage.sql("update exports set done_at = now() where run <> %(run)s", run=run)
    async with sink(collector) as otlp:
        with pytest.raises(StoreError, match="nothing is lost"):
            await spans_duty(otlp).do(office(stage))
    [row] = await stage.sql(
        "select seq, tries, done_at, due_at > now() as later from exports where run = %(run)s", run=run
    )
    assert (0, 1, None, True) == (row["seq"], row["tries"], row["done_at"], row["later"])

    collector.refuses = False
    await stage.sql("update exports set due_at = now() where run = %(run)s", run=run)
    await tell(stage, collector, run)
    assert 10 < len(collector.of(trace_id(run)))


async def test_a_run_that_a_collector_refuses_holds_up_no_other(stage: Stage, collector: Collector) -> None:
    """Whichever of two runs it does not take, the other is told in the same pass, and the refused one is kept."""
    runs = [await answered(stage) for _ in range(2)]
    for refused, other in (runs, reversed(runs)):
        await stage.sql("update exports set done_at = now()")
        again = "update exports set seq = 0, done_at = null, due_at = now() where run = any(%(runs)s)"
        await stage.sql(again, runs=runs)
        collector.spans.clear()
        collector.dislikes = refused.encode()

        async with sink(collector) as otlp:
            with pytest.raises(StoreError, match="nothing is lost"):
                await spans_duty(otlp).do(office(stage))

        assert 10 < len(collector.of(trace_id(other)))
        [row] = await stage.sql("select seq from exports where run = %(run)s", run=refused)
        assert 0 == row["seq"]


async def test_a_run_is_told_when_the_clock_was_set_back(stage: Stage, collector: Collector) -> None:
    """What is due in an hour was written before the database's clock was set back: it is due now."""
    run = await answered(stage)
    await stage.sql("update exports set done_at = now() where run <> %(run)s", run=run)
    await stage.sql("update exports set due_at = now() + interval '1 hour' where run = %(run)s", run=run)

    async with sink(collector) as otlp:
        await spans_duty(otlp).do(office(stage))

    assert 10 < len(collector.of(trace_id(run)))


async def test_a_failed_call_is_an_error(stage: Stage, collector: Collector) -> None:
    """Its span says so, with the outcome, and so does its run."""
    text = """
graph: spans-broken
version: 1.0.0
input: {text: {type: string, required: true}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, on_breach: reject}}
agents: {speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}}
nodes:
  broken: {agent: speaker, input: {text: input.text}, retry: {max_attempts: 1}}
edges: [broken -> end]
"""
    graph = stage.compile(text)
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "hello"})
    await waiting(handle.id, stage, "blocked")
    await stage.command(handle.id, "abort")
    with pytest.raises(Exception, match=r"."):
        await handle.result()
    await tell(stage, collector, handle.id)

    found = {span.name: span for span in collector.of(trace_id(handle.id))}
    assert Status.STATUS_CODE_ERROR == found["chat small"].status.code
    assert "failed" == attributes(found["chat small"])["error.type"]
    assert "aborted" == attributes(found["invoke_workflow spans-broken"])["vertebra.state"]
