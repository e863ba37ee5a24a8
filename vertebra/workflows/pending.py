"""How much of a run may be scheduled at once: more would not fit one workflow task's commands and hang the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from temporalio import workflow

from vertebra.engine.commands import Call
from vertebra.schemas.call import CallInput, CallResult
from vertebra.schemas.canonical import Json
from vertebra.schemas.ids import node_order

MAX_PENDING = 100
MAX_PENDING_BYTES = 2 * 1024 * 1024


@dataclass(slots=True)
class _Entry:
    call: Call
    size: int
    handle: workflow.ActivityHandle[CallResult] | None = None
    started: bool = False
    cancelled: bool = False


class Pending:
    """Calls that were asked for: those in flight, and those that wait their turn in node order."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._queued: list[str] = []
        self._bytes = 0
        self._in_flight = 0
        self._stopped = False

    @property
    def idle(self) -> bool:
        """Nothing is in flight."""
        return self._in_flight == 0

    def agent_of(self, activity_id: str) -> str:
        """The agent whose context a scheduled call uses; empty for the spine's own."""
        return self._entries[activity_id].call.agent

    def add(self, call: Call) -> None:
        """Ask for a call. It starts with the next `release`, if there is room."""
        size = len(workflow.payload_converter().to_payload(call.input).data)
        self._entries[call.activity_id] = _Entry(call, size)
        self._queued.append(call.activity_id)
        self._queued.sort(key=node_order)

    def release(self, start: Callable[[Call, int], None]) -> None:
        """Start what fits. A call larger than the whole room starts alone."""
        while self._queued and not self._stopped:
            entry = self._entries[self._queued[0]]
            full = self._in_flight >= MAX_PENDING or self._bytes + entry.size > MAX_PENDING_BYTES
            if full and self._in_flight:
                return
            self._queued.pop(0)
            entry.started = True
            self._in_flight += 1
            self._bytes += entry.size
            start(entry.call, entry.size)

    def scheduled(self, activity_id: str, handle: workflow.ActivityHandle[CallResult]) -> None:
        self._entries[activity_id].handle = handle

    def finished(self, activity_id: str) -> None:
        entry = self._entries.pop(activity_id)
        self._in_flight -= 1
        self._bytes -= entry.size

    def cancel(self, activity_id: str) -> bool:
        """Cancel a call in flight; its end is reported later. False if it had not started: then it never will."""
        entry = self._entries.get(activity_id)
        if entry is None:
            return True
        if entry.started:
            entry.cancelled = True
            if entry.handle is not None:
                entry.handle.cancel()
            return True
        self._queued.remove(activity_id)
        del self._entries[activity_id]
        return False

    def is_cancelled(self, activity_id: str) -> bool:
        """The run wants this call no more: it must not be scheduled, nor scheduled again."""
        return self._entries[activity_id].cancelled

    def stop(self) -> None:
        """Start nothing more: the run is about to continue as new."""
        self._stopped = True

    def go_on(self) -> None:
        """Start calls again: the run cannot continue as new yet."""
        self._stopped = False

    def to_json(self) -> Json:
        """The calls that have not started, for the snapshot."""
        return [_call_json(self._entries[activity_id].call) for activity_id in self._queued]

    def restore(self, queued: Json) -> None:
        for item in queued if isinstance(queued, list) else []:
            assert isinstance(item, dict)
            self.add(Call(**{**item, "input": CallInput.model_validate(item["input"])}))  # type: ignore[arg-type]  # own snapshot


def _call_json(call: Call) -> Json:
    return {
        "activity_id": call.activity_id,
        "input": call.input.model_dump(mode="json"),
        "agent": call.agent,
        "timeout_s": call.timeout_s,
        "deadline_s": call.deadline_s,
        "summary": call.summary,
    }
