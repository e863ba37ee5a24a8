"""Write the end of a run: its row, its last entry, and that nobody needs to decide any more."""

from __future__ import annotations

import json
from typing import Literal

from vertebra.activities import entries
from vertebra.activities.world import World
from vertebra.ledger.books import head_query
from vertebra.schemas.call import CallError
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.errors import NotFound
from vertebra.schemas.ids import RunId
from vertebra.schemas.run import CloseInput, Ended
from vertebra.store.artifacts import get_query, ref_in
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Transaction, transaction


async def close(given: CloseInput, run: str, world: World) -> Literal[True] | Ended:
    """True if this closed the run; the end that it has if it was closed already. Raises NotFound, StoreError."""
    async with transaction(world.pool, "close") as opened:
        pins = Query("run_pins", named("gate", "run_pins"), {"run": run})
        heads, pinned = await opened.trip([head_query(RunId(run)), pins])
        if not heads:
            raise NotFound(f"no run {run!r} was admitted")
        if heads[0]["ended_at"] is not None:
            return await _standing(opened, run)
        graph = await world.graph(pinned[0]["graph_digest"])
        envelopes, told = await entries.notes(opened, given.notes, heads[0], graph, world)
        error = given.error
        told.append(
            entries.event(
                world,
                "run_end",
                given.by or "engine",
                run=heads[0],
                outcome=given.end,
                success=given.end == "completed",
                error=f"{error.type}: {error.message}" if error else None,
                content=json_text(given.output),
                spine=graph.name,
            )
        )
        row = {
            "run": run,
            "state": given.end,
            "output": json_text(given.output).encode() if given.ref is None else None,
            "output_artifact": given.ref.sha256 if given.ref else None,
            "error": error.model_dump_json().encode() if error else None,
        }
        [[ended], *_] = await opened.commit(
            [
                Query("end_run", named("steps", "end_run"), row),
                *envelopes,
                *entries.append(heads[0], told, world),
                Query("withdraw_approvals", named("steps", "withdraw_approvals"), {"run": run}),
                Query("clear_waits", named("steps", "clear_waits"), {"run": run, "refs": []}),
                Query("done_wake", named("steps", "done_wake"), {"run": run, "refs": None}),
            ]
        )
    world.watch.ended(ended["graph"], given.end, ended["seconds"])
    return True


async def _standing(opened: Transaction, run: str) -> Ended:
    """What was written first holds, whatever the run has heard since."""
    [[row]] = await opened.trip([Query("run_row", named("steps", "run_row"), {"run": run})])
    output: Json = None
    if row["output"] is not None:
        output = json.loads(bytes(row["output"]))
    elif row["output_artifact"] is not None:
        [[kept]] = await opened.trip([get_query(row["tenant"], row["output_artifact"])])
        output = {"artifact": ref_in(kept).model_dump(mode="json")}
    return Ended(end=row["state"], output=output, error=row["error"] and CallError.model_validate_json(row["error"]))
