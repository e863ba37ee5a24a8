"""Records the histories that the unit tests replay: `python -m tests.record VERSION [STORY..]`; needs real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

from temporalio.client import WorkflowFailureError

from tests.integration.runs import test_router as routers
from tests.integration.runs import test_steps as steps
from tests.integration.runs.test_shell import HEAD, published, speaks
from tests.integration.runs.test_whole_run import ticket
from tests.integration.runs.waits import Handle, waiting
from tests.stage import Stage, staged
from tests.stores import PASSWORDS, Migrated
from vertebra.schemas.canonical import Json
from vertebra.services import postgres
from vertebra.services.options import ServiceOptions
from vertebra.services.supervisor import Supervisor
from vertebra.store.migrate import migrate

FOLDER = Path(__file__).parent / "histories"
REPLIES: dict[str, Json] = {name: [{"reply": f"{name} said"}] for name in ("one", "two", "three", "after")}
Story = Callable[[Stage], Awaitable[Handle]]


async def answered(stage: Stage) -> Handle:
    return await stage.start(stage.support, ticket(1))


async def spam(stage: Stage) -> Handle:
    return await stage.start(stage.support, ticket(5))


async def researched_twice(stage: Stage) -> Handle:
    return await stage.start(stage.support, ticket(8))


async def approved(stage: Stage) -> Handle:
    handle = await stage.start(stage.support, ticket(4))
    await stage.decide((await waiting(handle.id, stage, "approval"))["ref"], "approve")
    return handle


async def denied_and_skipped(stage: Stage) -> Handle:
    handle = await stage.start(stage.support, ticket(4))
    await stage.decide((await waiting(handle.id, stage, "approval"))["ref"], "deny")
    await waiting(handle.id, stage, "blocked")
    await stage.command(handle.id, "skip", "send", 1)
    return handle


async def topped_up(stage: Stage) -> Handle:
    handle = await stage.start(stage.support, ticket(9))
    await waiting(handle.id, stage, "top_up")
    await stage.command(handle.id, "top_up", arguments={"microusd": 0, "tokens": 40_000})
    return handle


async def forked(stage: Stage) -> Handle:
    body = "nodes:\n" + "".join(speaks(name) for name in ("one", "two", "three")) + speaks("after", write=True)
    graph = await published(
        stage, "forks", body + "edges:\n  - one -> two, three\n  - two, three -> after: {join: all}\n"
    )
    return await stage.start(graph, {"text": "x"})


async def raced_and_waited(stage: Stage) -> Handle:
    """One branch wins over a wait, then a wait passes, and an event comes."""
    body = "nodes:\n" + "".join(speaks(name) for name in ("one", "two")) + speaks("after", write=True)
    body += "  limit: {type: wait, for: 1h}\n  pause: {type: wait, for: 1s}\n  hear: {type: wait, event: paid}\n"
    edges = (
        "edges:\n  - one -> two, limit\n  - two, limit -> pause: {join: any}\n  - pause -> hear\n  - hear -> after\n"
    )
    handle = await stage.start(await published(stage, "races", body + edges), {"text": "x"})
    await waiting(handle.id, stage, "event")
    await stage.command(handle.id, "event", arguments={"event": "paid", "payload": {}})
    return handle


async def asked(stage: Stage) -> Handle:
    body = "nodes:\n  ask:\n    type: human\n    show: {text: input.text}\n    assign: [support_lead]\n"
    graph = await published(stage, "asks", body + speaks("one") + "edges:\n  - ask -> one\n")
    handle = await stage.start(graph, {"text": "x"})
    await stage.decide((await waiting(handle.id, stage, "approval"))["ref"], "approve")
    return handle


async def routed(stage: Stage) -> Handle:
    """A choice by a value."""
    graph = await routers.published(stage, "routes", routers.FIELD)
    return await stage.start(graph, {"kind": "word"})


async def routed_by_function(stage: Stage) -> Handle:
    """A choice by a function of the project, in the sandbox."""
    graph = await routers.published(stage, "routes-by-function", routers.FUNCTION)
    return await stage.start(graph, {"kind": "word"})


async def requested(stage: Stage) -> Handle:
    """A request to a host that the operator does not allow; a person says what it would have brought."""
    body = 'nodes:\n  ask: {type: http, address: "https://shop.example/orders"}\n' + speaks("one")
    head = HEAD.format(name="requests").replace("expires_in", "permissions: [execute_tools], expires_in")
    graph = stage.compile(head + body + "edges:\n  - ask -> one\n")
    await stage.publish(graph)
    handle = await stage.start(graph, {"text": "x"})
    wait = await waiting(handle.id, stage, "blocked")
    result: Json = {"status": 200, "headers": {}, "body": None}
    await stage.command(handle.id, "override", "ask", wait["visit"], arguments=result)
    return handle


async def slowed(stage: Stage) -> Handle:
    """A recorded step that ran out of its time, since the run's row was locked."""
    body = "nodes:\n  ask:\n    type: human\n    show: {text: input.text}\n    assign: [support_lead]\n"
    handle = await stage.start(await published(stage, "slow", body), {"text": "x"})
    await steps.lock_until_timed_out(stage, handle, (await waiting(handle.id, stage, "approval"))["ref"])
    return handle


async def aborted(stage: Stage) -> Handle:
    handle = await stage.start(stage.support, ticket(4))
    await waiting(handle.id, stage, "approval")
    await stage.command(handle.id, "abort")
    return handle


async def cancelled(stage: Stage) -> Handle:
    handle = await stage.start(stage.support, ticket(4))
    await waiting(handle.id, stage, "approval")
    await handle.cancel()
    return handle


STORIES: tuple[Story, ...] = (
    answered, spam, researched_twice, approved, denied_and_skipped, topped_up, forked, raced_and_waited, asked,
    routed, routed_by_function, requested, slowed, aborted, cancelled,
)  # fmt: skip


async def record(version: str, only: Collection[str]) -> None:
    """Run these stories, by default all, and write their histories."""
    folder = FOLDER / version
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        async with Supervisor(place, ServiceOptions.from_environ(os.environ), print) as supervisor:
            services = supervisor.services
            await postgres.create_database(services.postgres_dsn, "recorded")
            dsn = urlsplit(services.postgres_dsn)._replace(path="/recorded").geturl()
            await asyncio.to_thread(migrate, dsn, PASSWORDS)
            async with staged(services, Migrated(dsn), place, replies=REPLIES) as stage:
                await stage.publish(stage.support)
                for story in (story for story in STORIES if not only or story.__name__ in only):
                    await write(folder / f"{story.__name__.replace('_', '-')}.json", await story(stage))


async def write(path: Path, handle: Handle) -> None:
    """Wait for the end and keep the history, as Temporal's own tools write it."""
    with contextlib.suppress(WorkflowFailureError):  # some stories end so
        await asyncio.wait_for(handle.result(), 90)
    history = await handle.fetch_history()
    await asyncio.to_thread(path.write_text, json.dumps(history.to_json_dict(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], sys.argv[2:]))
