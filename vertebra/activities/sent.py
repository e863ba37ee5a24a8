"""Events that people send to a run: signed rows, each taken by one visit of one node that waits for it, for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from vertebra.activities import entries
from vertebra.activities.envelopes import envelope_query
from vertebra.activities.orders import apply_query
from vertebra.activities.world import World
from vertebra.policies.fields import check_fields
from vertebra.schemas.audit import Entry
from vertebra.schemas.envelope import Envelope
from vertebra.schemas.errors import BadInput
from vertebra.schemas.fields import fields_of
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.run import MAX_EVENT_BYTES, MAX_EVENTS, MAX_EVENTS_BYTES, Answer, Ask
from vertebra.store.people import arguments_of
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row


@dataclass(slots=True)
class Events:
    """What was sent to one run, oldest first, and which visit took what."""

    run: Row
    graph: CompiledGraph
    sent: Sequence[Row]
    """Commands with the verb `event` whose signatures count."""
    taken: dict[tuple[str, int], str]
    writes: list[Query] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)

    def put_aside(self, world: World) -> None:
        """What no node of the graph waits for nobody will ever take, and it must not keep out what somebody would."""
        heard = {node.pause.event for node in self.graph.nodes.values() if node.pause is not None}
        idle = [row for row in self.sent if row["applied_at"] is None and event_of(row) not in heard]
        if not idle:
            return
        aside = {"run": self.run["id"], "ids": [row["id"] for row in idle]}
        self.writes.append(Query("put_aside", named("steps", "put_aside"), aside))
        for person, number in sorted(Counter(row["person"] for row in idle).items()):
            error = f"{number} events that no node of the graph waits for"
            refused = entries.event(world, "event_refused", person, run=self.run, success=False, error=error)
            self.told.append(refused)

    def answer(self, ask: Ask, world: World) -> Answer | None:
        """The event of this visit: the one that it took before, else the first that nobody took."""
        place = (ask.node, ask.visit)
        for row in self.sent:
            if place in self.taken:
                if row["id"] == self.taken[place]:
                    return self._answer(ask, row)
            elif self._is_free(ask, row):
                try:
                    answer = self._answer(ask, row)
                except BadInput as error:
                    self._refuse(ask, row, error, world)
                    continue
                self._take(ask, row, world)
                return answer
        return None

    def _is_free(self, ask: Ask, row: Row) -> bool:
        pause = self.graph.nodes[ask.node].pause
        named = pause is not None and event_of(row) == pause.event
        return named and row["applied_at"] is None and row["id"] not in self.taken.values()

    def _answer(self, ask: Ask, row: Row) -> Answer:
        """Raises BadInput where the payload is too large or does not fit the node's form."""
        if len(row["arguments"]) > MAX_EVENT_BYTES:
            raise BadInput(f"an event of {len(row['arguments'])} bytes; {MAX_EVENT_BYTES} may come with one")
        form, payload = self.graph.nodes[ask.node].form_json, payload_of(row)
        if form is not None:
            payload = check_fields(fields_of(form), payload, at=f"event {event_of(row)!r}")
        at = int(row["at"].timestamp())
        return Answer(ref=ask.ref, verb="event", by=row["person"], arguments=payload, command=row["id"], at=at)

    def _take(self, ask: Ask, row: Row, world: World) -> None:
        self.taken[ask.node, ask.visit] = row["id"]
        envelope = Envelope(
            run=self.run["id"],
            graph=self.graph.name,
            version=self.graph.version,
            node=ask.node,
            visit=ask.visit,
            kind="plan",
            status="succeeded",
            inline={"event": row["id"]},
        )
        self.writes += [envelope_query(self.run["tenant"], envelope), apply_query(row)]
        self.told.append(self._entry("event_taken", ask, row, world, None))

    def _refuse(self, ask: Ask, row: Row, error: BadInput, world: World) -> None:
        """A payload that does not fit never will: it is put aside, on record."""
        self.writes.append(apply_query(row))
        self.told.append(self._entry("event_refused", ask, row, world, str(error)))
        self.taken["", len(self.taken)] = row["id"]

    def _entry(self, operation: str, ask: Ask, row: Row, world: World, error: str | None) -> Entry:
        return entries.event(
            world,
            operation,
            row["person"],
            run=self.run,
            node=ask.node,
            visit=ask.visit,
            success=error is None,
            error=error,
            event=event_of(row),
            command=row["id"],
        )


def reads(run: str, asks: Sequence[Ask]) -> Query:
    """The events that may still be taken, as many as one look can verify, and those that these waits took."""
    mine = [ask for ask in asks if ask.kind == "event"]
    params = {
        "run": run,
        "nodes": [ask.node for ask in mine],
        "visits": [ask.visit for ask in mine],
        "most": MAX_EVENTS,
        "most_bytes": MAX_EVENTS_BYTES,
    }
    return Query("sent_events", named("steps", "sent_events"), params)


def taken_of(rows: Sequence[Row]) -> dict[tuple[str, int], str]:
    """Which visit took which command, from the plan envelopes."""
    found: dict[tuple[str, int], str] = {}
    for row in rows:
        inline = Envelope.model_validate_json(bytes(row["body"])).inline
        if isinstance(inline, dict):
            found[row["node"], row["visit"]] = str(inline["event"])
    return found


def event_of(row: Row) -> str | None:
    """The name of the event that a command sends; None if it sends none."""
    arguments = arguments_of(row)
    name = arguments.get("event") if isinstance(arguments, dict) else None
    return name if isinstance(name, str) else None


def payload_of(row: Row) -> JsonValue:
    arguments = arguments_of(row)
    return arguments.get("payload", {}) if isinstance(arguments, dict) else {}
