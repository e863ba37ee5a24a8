"""Money: the upper bound of the call is reserved by one conditional update, which also locks the run's row."""

from __future__ import annotations

from collections.abc import Sequence

from vertebra.activities.world import World
from vertebra.ledger.attempts import AttemptId, open_attempt_query, reserve_query
from vertebra.ledger.books import books_query
from vertebra.schemas.call import CallError, Hold
from vertebra.schemas.graph import Breach
from vertebra.schemas.ids import CallId, RunId, Tenant
from vertebra.schemas.money import MicroUSD
from vertebra.store.transaction import Query
from vertebra.workers.gate.element import Denied, Element, GateCall, Held, Seen, Verdict


def reads(call: GateCall) -> Sequence[Query]:
    """The reservation, before all that others read; before it the limits, where a refused call waits for a top-up.

    Read after it, they may be raised already, and the call would wait for another one.
    """
    run, bound = RunId(call.run), MicroUSD(call.prepared.bound_microusd)
    reserve = reserve_query(run, bound, call.prepared.bound_tokens)
    return (books_query(run), reserve) if _breach(call) == "pause" else (reserve,)


def judge(call: GateCall, seen: Seen, world: World) -> Verdict:
    """Zero rows: the bound does not fit. What follows is what the graph says of a breach."""
    if seen.books:
        return None
    bound = f"{call.prepared.bound_microusd / 1e6:.6f} USD and {call.prepared.bound_tokens} tokens"
    message = f"the upper bound of this call, {bound}, does not fit what is left of the run's budget"
    breach = _breach(call)
    if breach == "pause":
        [books] = seen.of("budget")
        limits = f"{books['limit_microusd']}/{books['limit_tokens']}"
        return Held(Hold(kind="top_up", id=f"{call.id}/{limits}"), "budget", message)
    kind = "Aborted" if breach == "abort" else "BudgetExceeded"
    do = f"vertebra budgets top-up {call.run} --usd AMOUNT --tokens COUNT"
    return Denied("budget", CallError(type=kind, message=message, node=call.node.id, visit=call.given.visit, do=do))


def writes(call: GateCall, seen: Seen, world: World) -> Sequence[Query]:
    """The attempt that holds the reservation."""
    attempt = AttemptId(RunId(call.run), CallId(call.id), seen.attempt)
    mine = next((row for row in seen.of("journal") if row["id"] == call.id), None)
    query = open_attempt_query(
        attempt,
        MicroUSD(call.prepared.bound_microusd),
        call.prepared.bound_tokens,
        tenant=Tenant(call.tenant),
        execution_id=call.execution_id,
        worker=call.worker,
        price_digest=call.prepared.price_digest,
        opened_by=mine["opened_by"] if mine else None,
    )
    return (query,)


def _breach(call: GateCall) -> Breach:
    budget = call.graph.spine.budget
    return budget.on_breach if budget else "reject"


ELEMENT = Element("budget", reads=reads, judge=judge, writes=writes)
