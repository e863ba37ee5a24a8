"""What runs did and do, read from their rows: lists, paths with visits, cost, waits, results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vertebra.client.commands import run_row
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json
from vertebra.schemas.envelope import Envelope
from vertebra.schemas.errors import NotFound
from vertebra.store.artifacts import get_query, value_of
from vertebra.store.pool import Link
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, trip

PARKED = ("awaiting_human", "blocked", "over_budget")
"""States in which a run goes on only when a person has said something."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything worth knowing of one run."""

    run: Row
    path: tuple[Envelope, ...]
    calls: tuple[Row, ...]
    """One row a call, with its attempts and what they cost."""
    waits: tuple[Row, ...]
    approvals: tuple[Row, ...]
    events: Mapping[str, str]
    """What each node listens for that waits for an event."""


async def runs(connection: Link, *, state: str | None = None, graph: str | None = None, limit: int = 50) -> list[Row]:
    """The newest runs."""
    params = {"state": state, "graph": graph, "limit": limit}
    [rows] = await trip(connection, [Query("runs", named("client", "runs"), params)])
    return rows


async def standing(connection: Link, ids: Sequence[str]) -> dict[str, Row]:
    """Where these runs are now; those that were not admitted yet are left out."""
    [rows] = await trip(connection, [Query("standing", named("client", "standing"), {"ids": list(ids)})])
    return {row["id"]: row for row in rows}


async def picture(connection: Link, run: str) -> Picture:
    """One run. Raises NotFound."""
    row = await run_row(connection, run)
    of_run = {"run": run}
    envelopes, calls, waits, approvals, events = await trip(
        connection,
        [
            Query("envelopes", named("client", "envelopes"), of_run),
            Query("calls", named("client", "calls"), of_run),
            Query("waits", named("client", "waits"), of_run),
            Query("run_approvals", named("client", "run_approvals"), of_run),
            Query("heard_events", named("client", "heard_events"), of_run),
        ],
    )
    path = tuple(Envelope.model_validate_json(bytes(found["body"])) for found in envelopes)
    heard = {found["node"]: found["event"] for found in events}
    return Picture(row, path, tuple(calls), tuple(waits), tuple(approvals), heard)


async def output(connection: Link, run: str) -> Json:
    """The output of a completed run. Raises NotFound while there is none."""
    row = await run_row(connection, run)
    if row["output_artifact"] is not None:
        [found] = await trip(connection, [get_query(row["tenant"], row["output_artifact"])])
        value: Json = json.loads(value_of(found[0])) if found else None
        return value
    if row["state"] != "completed" or row["output"] is None:
        raise NotFound(f"run {run!r} has no result: it is {row['state']}", do=f"see: vertebra show {run}")
    result: Json = json.loads(bytes(row["output"]))
    return result


def error_of(row: Row) -> CallError | None:
    """Why a run or call failed, if it did."""
    return None if row["error"] is None else CallError.model_validate_json(bytes(row["error"]))
