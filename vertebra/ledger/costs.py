"""What runs cost and hold, by agent, graph, model or day: sums over the attempts that the runs' books are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vertebra.schemas.errors import BadInput
from vertebra.schemas.graph import CompiledGraph, parse_graph
from vertebra.schemas.ids import Tenant
from vertebra.schemas.time_range import ALWAYS, TimeRange
from vertebra.store.pool import Connection
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, trip

FIGURES = (
    *("attempts", "settled_microusd", "settled_tokens", "held_microusd", "held_tokens"),
    *("unknown_microusd", "unknown_tokens"),
)
NO_MODEL = "(no model)"
NO_AGENT = "(no agent)"
"""Of tools that a node of the spine calls itself."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One group. Settled is spent, held is for calls in flight, unknown for calls whose outcome nobody knows."""

    group: str
    attempts: int
    settled_microusd: int
    settled_tokens: int
    held_microusd: int
    held_tokens: int
    unknown_microusd: int
    unknown_tokens: int


async def costs(
    connection: Connection, tenant: Tenant, by: str = "graph", times: TimeRange = ALWAYS
) -> tuple[list[Cost], Cost]:
    """Each group, the dearest first (days in their order), and the total. Raises BadInput, StoreError."""
    if by not in GROUPS:
        raise BadInput(f"costs are not told by {by!r}", do=f"known are: {', '.join(sorted(GROUPS))}")
    params = {"tenant": tenant, "since": times.since, "until": times.until}
    [rows] = await trip(connection, [Query("costs", named("ledger", "costs"), params)])
    graphs = await _graphs(connection, rows) if by == "model" else {}
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[GROUPS[by](row, graphs)].append(row)
    groups = [_sum(name, members) for name, members in found.items()]
    groups.sort(key=lambda one: (one.group,) if by == "day" else (-one.settled_microusd, one.group))
    return groups, _sum("total", rows)


def _model(row: Row, graphs: Mapping[str, CompiledGraph]) -> str:
    """What the run's own graph names for the agent: a later version may name another model."""
    graph = graphs.get(row["graph_digest"])
    agent = graph.agents.get(row["agent"] or "") if graph else None
    return agent.model.name if agent and row["kind"] == "llm" else NO_MODEL


GROUPS: Mapping[str, Callable[[Row, Mapping[str, CompiledGraph]], str]] = {
    "agent": lambda row, _: row["agent"] or NO_AGENT,
    "graph": lambda row, _: str(row["graph"]),
    "model": _model,
    "day": lambda row, _: str(row["day"]),
}


async def _graphs(connection: Connection, rows: Sequence[Row]) -> dict[str, CompiledGraph]:
    digests = sorted({row["graph_digest"] for row in rows})
    [found] = await trip(connection, [Query("graphs_of", named("ledger", "graphs_of"), {"digests": digests})])
    return {row["digest"]: parse_graph(bytes(row["bytes"]).decode()) for row in found}


def _sum(name: str, rows: Sequence[Row]) -> Cost:
    return Cost(name, **{figure: sum(int(row[figure]) for row in rows) for figure in FIGURES})
