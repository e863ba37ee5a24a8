"""The record of one task or plan: headers, telemetry, result inline or by reference. Append-only."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from vertebra.schemas.call import Note, Telemetry
from vertebra.schemas.record import Recorded

Status = Literal[
    "scheduled", "running", "waiting", "succeeded", "blocked", "skipped", "overridden", "cancelled", "failed"
]


class Envelope(Recorded):
    """One execution of one node, as it is kept for good."""

    v: int = 1
    run: str
    graph: str
    version: str
    node: str
    visit: int
    kind: Literal["task", "plan"]
    status: Status
    telemetry: Telemetry = Telemetry()
    inline: JsonValue = None
    uri: str | None = None
    size_bytes: int = 0
    media_type: str = "application/json"
    next_task_names: tuple[str, ...] = ()
    """Of a plan: the nodes that it chose."""
    branch: str = ""
    error: JsonValue = None


def of_note(run: str, graph: str, version: str, note: Note) -> Envelope:
    """The envelope of something that no call of its own records."""
    return Envelope(
        run=run,
        graph=graph,
        version=version,
        node=note.node,
        visit=note.visit,
        kind=note.kind,
        status=note.status,
        inline=note.result,
        next_task_names=note.next,
        branch=note.branch,
        error=note.error,
    )
