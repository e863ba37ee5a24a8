"""Ask a person on behalf of a `human` node: the answer authorises nothing, it is the node's result."""

from __future__ import annotations

from vertebra.activities import entries
from vertebra.activities.world import World
from vertebra.ledger.books import head_query
from vertebra.schemas.canonical import canonical_bytes, digest_of, json_text
from vertebra.schemas.errors import NotFound
from vertebra.schemas.graph import Approval
from vertebra.schemas.ids import RunId, activity_id, derive
from vertebra.schemas.run import OpenApprovalInput, OpenedApproval
from vertebra.store.queries import named
from vertebra.store.transaction import Query, transaction


async def open_approval(given: OpenApprovalInput, run: str, world: World) -> OpenedApproval:
    """Write the approval of this round, or find it. Raises NotFound, StoreError."""
    async with transaction(world.pool) as opened:
        [heads] = await opened.trip([head_query(RunId(run))])
        if not heads:
            raise NotFound(f"no run {run!r} was admitted")
        pins = Query("run_pins", named("gate", "run_pins"), {"run": run})
        [[pinned]] = await opened.trip([pins])
        graph = await world.graph(pinned["graph_digest"])
        node = graph.nodes[given.node]
        asked = node.approval or Approval()
        request = canonical_bytes({"kind": "human", "show": json_text(given.show), "form": node.form_json})
        place = activity_id(given.node, given.visit)
        approval = derive(run, place, digest_of(request), "approval", given.round)
        row = {
            "tenant": heads[0]["tenant"],
            "id": approval,
            "run": run,
            "node": given.node,
            "visit": given.visit,
            "activity_id": place,
            "round": given.round,
            "kind": "human",
            "subject": "",
            "request": request,
            "digest": digest_of(request),
            "assign": list(asked.assign),
            "backup": list(asked.backup),
            "escalate_after_s": asked.escalate_after_s,
            "remind_s": list(asked.remind_s),
            "expires_in_s": asked.expires_in_s,
        }
        entry = entries.event(
            world,
            "approval_asked",
            "engine",
            run=heads[0],
            node=given.node,
            visit=given.visit,
            content=request.decode(),
            approval=approval,
        )
        query = Query("open_approval", named("gate", "open_approval"), row)
        await opened.commit([query, *entries.append(heads[0], [entry], world)])
    return OpenedApproval(id=approval)
