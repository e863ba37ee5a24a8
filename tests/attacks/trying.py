"""How an attack on a start is tried, and what it must come to: a refusal at once, on record, and no run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from tests.stage import Stage
from vertebra.schemas.canonical import Json
from vertebra.schemas.ids import RUNS

AT_ONCE_S = 60


@dataclass(frozen=True)
class Try:
    """One start that must not be let in. `args` may hold raw payloads."""

    name: str
    graph: str
    run: str
    args: Sequence[object]
    claimed: bool = False
    """The id is another run's already."""


def raw(data: bytes, encoding: str = "json/plain") -> RawValue:
    """An argument of exactly these bytes."""
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=data))


def marked(**fields: Json) -> Json:
    """The marked form of an argument."""
    return {"vertebra": 1, **fields}


async def all_refused(tries: Sequence[Try], stage: Stage) -> list[str]:
    """The names of the tries that came to nothing; what the others came to, instead of their names."""
    return list(await asyncio.gather(*(_refused(one, stage) for one in tries)))


async def _refused(one: Try, stage: Stage) -> str:
    before = await _rows(one.run, stage)
    try:
        handle = await stage.client.start_workflow(
            one.graph,
            args=one.args,
            id=one.run,
            task_queue=RUNS,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )
    except RPCError as refusal:
        return one.name if one.name.endswith("(by Temporal)") else f"{one.name}: Temporal refused it: {refusal}"
    try:
        result: object = await asyncio.wait_for(handle.result(), AT_ONCE_S)
    except TimeoutError:
        await handle.terminate()
        return f"{one.name}: still running"
    except WorkflowFailureError as failure:
        return await _checked(one, failure, before, stage)
    return f"{one.name}: completed with {result}"


async def _checked(one: Try, failure: WorkflowFailureError, before: list[object], stage: Stage) -> str:
    cause = failure.cause
    if not (isinstance(cause, ApplicationError) and cause.non_retryable):
        return f"{one.name}: failed as {cause!r}, which may be tried again"
    if await _rows(one.run, stage) != before:
        return f"{one.name}: the rows of the run have changed"
    if not await told(one.run, stage):
        return f"{one.name}: nothing in the record ({cause.message})"
    return one.name


async def told(run: str, stage: Stage) -> list[dict[str, object]]:
    """The refusals of this id in the tenant's own stream."""
    rows = await stage.sql("select convert_from(body, 'UTF8') as body from audit where stream = 'admin/default'")
    entries = [json.loads(row["body"]) for row in rows]
    return [entry for entry in entries if entry["operation"] == "run_refused" and entry["detail"]["id"] == run]


async def _rows(run: str, stage: Stage) -> list[object]:
    if "\0" in run:
        return []
    rows = await stage.sql(
        "select chain, state, epoch, audit_seq, ended_at, spent_microusd, held_microusd from runs where id = %(id)s",
        id=run,
    )
    return [dict(row) for row in rows]
