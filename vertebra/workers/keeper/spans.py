"""Tell a collector what runs did, from their committed entries: run by run, from a bookmark, at least once.

A collector that is away costs nothing but this duty's patience: the bookmark stays, and the run is due again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from vertebra.schemas.audit import Entry
from vertebra.schemas.call import CallResult, Telemetry
from vertebra.schemas.errors import NotFound, StoreError
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, once
from vertebra.workers.keeper.duty import BATCH, Duty, Office
from vertebra.workers.telemetry.otlp import SpanSink
from vertebra.workers.telemetry.trace import Fact, Span, Story, spans

_READS = ("export_run", "export_facts", "export_replies", "export_tools")
AT_ONCE = 500
"""Spans of one message."""
FAILURES = 3
"""Of one pass; after them the collector counts as away."""


def spans_duty(sink: SpanSink) -> Duty:
    """The duty that tells this collector."""

    async def do(office: Office) -> int:
        [claimed] = await once(
            office.world.pool, [Query("claim_exports", named("keeper", "claim_exports"), {"limit": BATCH})]
        )
        failures: list[StoreError] = []
        for row in claimed:
            try:
                await _tell(office, sink, row)
            except StoreError as failure:  # it may be about this run only, and must not keep the others waiting
                failures.append(failure)
            if len(failures) >= FAILURES:
                break
        if failures:
            raise failures[0]
        return len(claimed)

    return Duty("spans", do, lambda times: times.spans_s)


async def _tell(office: Office, sink: SpanSink, claimed: Row) -> None:
    of_run = {"run": claimed["run"], "after": claimed["seq"]}
    [run], facts, replies, tools = await once(
        office.world.pool, [Query(name, named("keeper", name), of_run) for name in _READS]
    )
    found: list[Span] = []
    with suppress(NotFound):  # a graph that is not published can have no spans
        graph = await office.world.graph(run["graph_digest"])
        made = [Fact(row["seq"], row["facts"]) for row in facts]
        story = Story(run["id"], graph, run["correlation_id"], made, _replies(replies), _tools(tools, graph))
        found = spans(story, claimed["seq"])
    for first in range(0, len(found), AT_ONCE):
        await sink.send(found[first : first + AT_ONCE])
    seq = facts[-1]["seq"] if facts else claimed["seq"]
    moved = {"run": run["id"], "seq": seq, "again_s": office.times.spans_s}
    await once(office.world.pool, [Query("move_export", named("keeper", "move_export"), moved)])


def _replies(rows: Sequence[Row]) -> dict[str, Telemetry]:
    """What the model said of each reply."""
    return {row["id"]: CallResult.model_validate_json(bytes(row["result"])).telemetry for row in rows}


def _tools(rows: Sequence[Row], graph: CompiledGraph) -> dict[str, str]:
    """The tool of each call, by the definition that its entry names."""
    names = {str(pin): name for name, pin in graph.tools.items()}
    entries = [Entry.model_validate_json(bytes(row["body"])) for row in rows]
    return {entry.call: names[entry.tool_pin] for entry in entries if entry.call and entry.tool_pin in names}
