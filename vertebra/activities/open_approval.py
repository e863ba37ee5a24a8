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
from vertebra.store.transaction import Param, Query, Row, transaction


async def open_approval(given: OpenApprovalInput, run: str, world: World) -> OpenedApproval:
    """Write the approval of this round, or find it. Raises NotFound, StoreError.

    A resumed run that came another way may show something else: what stands is void then, and this takes a later round.
    """
    async with transaction(world.pool, "open_approval") as opened:
        heads, pinned, standing = await opened.trip(_reads(given, run))
        if not heads:
            raise NotFound(f"no run {run!r} was admitted")
        node = (await world.graph(pinned[0]["graph_digest"])).nodes[given.node]
        request = canonical_bytes({"kind": "human", "show": json_text(given.show), "form": node.form_json})
        digest = digest_of(request)
        same = [row for row in standing if row["digest"] == digest]
        if len(same) >= given.round:
            return _opened(same[given.round - 1])
        round = max([given.round, *(row["round"] + 1 for row in standing)])
        approval = derive(run, activity_id(given.node, given.visit), digest, "approval", round)
        row = _row(heads[0], given, node.approval or Approval(), request, approval, round)
        void = [row["id"] for row in standing if row["digest"] != digest]
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
        await opened.trip(
            [
                *(Query("withdraw_approval", named("gate", "withdraw_approval"), {"id": id}) for id in void),
                Query("open_approval", named("gate", "open_approval"), row),
            ]
        )
        *_, [made] = await opened.commit(
            [*entries.append(heads[0], [entry], world), _asked(run, row["activity_id"], approval)]
        )
    return _opened(made)


def _reads(given: OpenApprovalInput, run: str) -> list[Query]:
    return [
        head_query(RunId(run)),
        Query("run_pins", named("gate", "run_pins"), {"run": run}),
        _asked(run, activity_id(given.node, given.visit), None),
    ]


def _asked(run: str, place: str, id: str | None) -> Query:
    params = {"run": run, "activity_id": place, "id": id}
    return Query("asked_before", named("steps", "asked_before"), params)


def _row(
    run: Row, given: OpenApprovalInput, asked: Approval, request: bytes, approval: str, round: int
) -> dict[str, Param]:
    return {
        "tenant": run["tenant"],
        "id": approval,
        "run": run["id"],
        "node": given.node,
        "visit": given.visit,
        "activity_id": activity_id(given.node, given.visit),
        "round": round,
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


def _opened(row: Row) -> OpenedApproval:
    until = row["expires_at"]
    return OpenedApproval(id=row["id"], until=None if until is None else int(until.timestamp()))
