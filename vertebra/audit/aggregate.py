"""Numbers over the audit by group: how many, how much, how long. Integers throughout; money is micro-USD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vertebra.audit.query import known_word, range_params
from vertebra.schemas.ids import Tenant
from vertebra.schemas.time_range import ALWAYS, TimeRange
from vertebra.store.pool import Connection
from vertebra.store.queries import named


@dataclass(frozen=True, slots=True)
class Metric:
    """What is counted, added or compared, over which entries."""

    how: Literal["count", "sum", "max"]
    figure: Literal["", "cost_microusd", "tokens", "duration_ms"] = ""
    operations: tuple[str, ...] | None = None
    phases: tuple[str, ...] | None = ("outcome",)
    success: bool | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """The value of one group; entries that name none are the group None."""

    group: str | None
    value: int


METRICS = {
    "entries": Metric("count", phases=None),
    "calls": Metric("count"),
    "llm_calls": Metric("count", operations=("llm_call",)),
    "tool_calls": Metric("count", operations=("tool_execution",)),
    "errors": Metric("count", phases=("outcome", "event"), success=False),
    "refusals": Metric(
        "count", operations=("llm_call", "tool_execution", "http_request"), phases=("event",), success=False
    ),
    "cost": Metric("sum", "cost_microusd", unit="micro-USD"),
    "llm_cost": Metric("sum", "cost_microusd", operations=("llm_call",), unit="micro-USD"),
    "tool_cost": Metric("sum", "cost_microusd", operations=("tool_execution",), unit="micro-USD"),
    "tokens": Metric("sum", "tokens", unit="tokens"),
    "duration": Metric("sum", "duration_ms", unit="ms"),
    "max_duration": Metric("max", "duration_ms", unit="ms"),
}
"""An attempt has one outcome, so what is added up over outcomes is added once."""

GROUPS = {
    "total": "",
    "agent_id": "agent",
    "node": "node",
    "graph": "spine",
    "run": "run",
    "correlation_id": "correlation_id",
    "operation_type": "operation",
    "outcome": "outcome",
    "actor": "actor",
    "refused_by": "by",
    "day": "day",
    "hour": "hour",
}
"""What a group is called, and which fact of an entry names it. Days and hours are UTC."""
_SHORT = {"agent": "agent_id", "correlation": "correlation_id", "operation": "operation_type"}


async def aggregate(
    connection: Connection, tenant: Tenant, metric: str, group_by: str = "total", times: TimeRange = ALWAYS
) -> list[Sum]:
    """The value of a metric for each group, the largest first. Raises BadInput, listing the known words."""
    group_by = _SHORT.get(group_by, group_by)
    known_word("metric", metric, tuple(METRICS))
    known_word("group", group_by, tuple(GROUPS))
    asked = METRICS[metric]
    params = {
        "tenant": tenant,
        **range_params(times),
        "group": GROUPS[group_by],
        "how": asked.how,
        "figure": asked.figure,
        "operations": _listed(asked.operations),
        "phases": _listed(asked.phases),
        "success": None if asked.success is None else str(asked.success).lower(),
    }
    cursor = await connection.execute(named("audit", "aggregate"), params)
    return [Sum(group, int(value)) for group, value in await cursor.fetchall()]


def _listed(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else list(words)
