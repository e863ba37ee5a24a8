"""One run of any published graph: the engine decides, this carries out. Nothing here decides what a graph does next."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from vertebra.engine import commands, events
from vertebra.engine.advance import advance
from vertebra.engine.pauses import running_timers
from vertebra.engine.state import EMPTY, RunState, from_json, path, to_json, waits
from vertebra.schemas.call import ArtifactRef, CallInput, Hold
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph, parse_graph
from vertebra.schemas.run import (
    CloseInput,
    DecideInput,
    Ended,
    KeepInput,
    Loaded,
    LoadInput,
    MarkedStart,
    OpenApprovalInput,
)
from vertebra.workflows import calls
from vertebra.workflows.pending import Pending
from vertebra.workflows.start import read_start
from vertebra.workflows.visibility import Visible

WAKE_GAP_S = 5
"""Wakes load at once, then at most once in this many seconds."""
SIGNALS_BEFORE_CONTINUING = 2_000
BEFORE_CONTINUING_S = 0.01
MAX_INLINE_BYTES = MAX_INPUT_BYTES = 256 * 1024
MAX_SNAPSHOT_BYTES = 1024 * 1024
"""With the graph beside it, what `admit` can give back in one event; two MiB would end the run."""
EVENTS_UNTIL_NEXT_TRY = 2_000

Out = TypeVar("Out")


class Interpreter:
    """Carries out what the engine wants done, and tells it what happened."""

    def __init__(self) -> None:
        self._graph: CompiledGraph | None = None
        self._contexts: dict[str, str] = {}
        self._state: RunState = EMPTY
        self._inbox: deque[events.Event] = deque()
        self._pending = Pending()
        self._steps: list[asyncio.Task[None] | asyncio.Task[ArtifactRef]] = []
        self._calls: list[asyncio.Task[None]] = []
        self._loads: deque[commands.Load] = deque()
        self._continue_from = 0
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._finish: commands.Finish | None = None
        self._woken = False
        self._signals = 0
        self._next_wake = 0.0
        self._cancel_seen = False
        self._stray: Exception | None = None
        self._visible: Visible | None = None

    async def run(self, args: Sequence[RawValue]) -> Json:
        """Run the graph to its end; the result is the graph's output. Fails with Aborted, Cancelled or BadStart."""
        await self._whole(self._enter(args))
        while self._finish is None:
            event = await self._next_event()
            if event is not None:
                self._turn(event)
            self._pending.release(self._start_call)
            if self._must_continue():
                await self._whole(self._continue())
        return await self._whole(self._close(self._finish))

    async def _whole(self, step: Coroutine[None, None, Out]) -> Out:
        """Be let in, continue, fail or end, uncut: Temporal's cancel meanwhile is for the engine, or comes too late.

        What the step has written may stand already, and a cut would have Temporal say something else than the row.
        """
        task = asyncio.create_task(step)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() or workflow.cancellation_reason() is None or self._cancel_seen:
                raise  # the end is a cancel, or the worker gives the run up
            self._cancel_seen = True
            self._inbox.append(events.CancelAsked("temporal"))
            return await task

    async def _enter(self, args: Sequence[RawValue]) -> None:
        """Be let in. What was said for it is not kept: a run that waits for days holds no more than it needs."""
        given, snapshot = read_start(args)
        admission = await calls.admit(given)
        snapshot = admission.snapshot or snapshot
        self._graph = parse_graph(admission.graph)
        self._contexts = admission.contexts
        self._visible = Visible(admission.tenant)
        self._visible.show("running" if snapshot is None else None, None, None)
        if snapshot is None:
            self._inbox.appendleft(events.Admitted(admission.input, admission.past))
        else:
            self._restore(snapshot)

    def wake(self) -> None:
        """Look again for what stands written."""
        self._woken = True
        self._signals += 1

    def shown(self) -> Json:
        """The path taken so far, and what waits for whom."""
        return {
            "path": [list(step) for step in path(self._state)],
            "waits": [ask.model_dump(mode="json") for ask in waits(self._state)],
        }

    def context_for(self, activity_id: str) -> str:
        """The context id that the outbound interceptor puts into the header of this activity."""
        return self._contexts[self._pending.agent_of(activity_id)]

    async def _next_event(self) -> events.Event | None:
        """What happened next; None when only the time to continue as new has come."""
        try:
            # a look that brings no event may have been all that a continuation waited for
            await workflow.wait_condition(lambda: self._woken or self._has_news() or self._can_continue())
            if self._woken and not self._inbox:
                await self._wake_gap()
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None or self._cancel_seen:
                raise
            self._cancel_seen = True
            return events.CancelAsked("temporal")
        if self._stray is not None:
            await self._whole(workflow.wait_condition(self._is_at_rest))
            raise self._stray
        if self._inbox:
            return self._inbox.popleft()
        if not self._woken or workflow.time() < self._next_wake:
            return None
        self._woken = False
        self._next_wake = workflow.time() + WAKE_GAP_S
        return events.Woken()

    def _has_news(self) -> bool:
        return bool(self._inbox) or self._stray is not None

    async def _wake_gap(self) -> None:
        """Hold back a wake that follows another one too soon, but not the results that arrive meanwhile."""
        left = self._next_wake - workflow.time()
        if left > 0:
            try:
                await workflow.wait_condition(
                    lambda: self._has_news() or self._can_continue(),
                    timeout=left,
                    timeout_summary="a pause between two wakes",
                )
            except TimeoutError:
                return

    def _turn(self, event: events.Event) -> None:
        assert self._graph is not None
        self._state, todo = advance(self._graph, self._state, event)
        for command in todo:
            self._carry_out(command)

    def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.Call():
                self._pending.add(command)
            case commands.CancelCall():
                self._cancel_call(command.activity_id)
            case commands.Decide():
                self._spawn(self._decide(command))
            case commands.OpenApproval():
                self._spawn(self._open_approval(command))
            case commands.Load():
                self._loads.append(command)
                if len(self._loads) == 1:
                    self._spawn(self._load_in_turn())
            case commands.StartTimer():
                self._set_timer(command)
            case commands.SetState():
                assert self._visible is not None
                self._visible.show(command.state, None, None)
            case commands.Finish():
                self._finish = command
            case commands.Park():
                pass

    def _spawn(self, step: Coroutine[None, None, None]) -> None:
        self._steps = [task for task in self._steps if not task.done()]
        self._steps.append(asyncio.create_task(self._guarded(step)))

    def _is_at_rest(self) -> bool:
        """No recorded step is under way: one that ends after the run's end would be told after it, which is refused."""
        return all(task.done() for task in self._steps)

    async def _guarded(self, step: Coroutine[None, None, None]) -> None:
        """Hand a stray error to `run`: lost with its task it would leave the run waiting for ever."""
        try:
            await step
        except Exception as error:
            # whatever it is, `run` raises it: an ApplicationError fails the run, any other error the workflow task
            self._stray = error

    def _start_call(self, call: commands.Call, size: int) -> None:
        self._calls = [task for task in self._calls if not task.done()]
        self._calls.append(asyncio.create_task(self._guarded(self._call(call, size))))

    async def _call(self, call: commands.Call, size: int) -> None:
        given = call.input if size <= MAX_INPUT_BYTES else await self._by_reference(call.input)
        event: events.Event | None = None
        while event is None and not self._pending.is_cancelled(call.activity_id):
            handle = calls.schedule(call, given)
            self._pending.scheduled(call.activity_id, handle)
            try:
                event = events.CallFinished(call.activity_id, await handle)
            except ActivityError as error:
                event = calls.event_of(call, error)
            except asyncio.CancelledError:
                # the call ended in the activation that cancelled it, and the library withholds how; the journal knows
                if not self._pending.is_cancelled(call.activity_id):
                    raise  # the worker gives the run up
        self._pending.finished(call.activity_id)
        self._inbox.append(event or events.CallCancelled(call.activity_id))

    async def _by_reference(self, given: CallInput) -> CallInput:
        """The same call, with its input in an artifact."""
        keeping = asyncio.create_task(calls.keep(KeepInput(text=_text(given))))
        self._steps.append(keeping)  # it too must be over before the run's end
        kept = await keeping
        names = {name: getattr(given, name) for name in ("kind", "node", "visit", "turn", "tool", "tool_call")}
        return CallInput.model_validate({**names, "whole": kept})

    def _cancel_call(self, activity_id: str) -> None:
        if not self._pending.cancel(activity_id):
            self._inbox.append(events.CallCancelled(activity_id))

    async def _decide(self, command: commands.Decide) -> None:
        output = await calls.decide(DecideInput(requests=command.requests))
        self._inbox.append(events.Decided(command.id, output.answers))

    async def _open_approval(self, command: commands.OpenApproval) -> None:
        from_node = f"{command.node}#{command.visit}"
        opened = await calls.open_approval(
            OpenApprovalInput(node=command.node, visit=command.visit, round=command.round, show=command.show)
        )
        self._inbox.append(events.HoldOpened(from_node, Hold(kind="approval", id=opened.id, until=opened.until)))

    async def _load_in_turn(self) -> None:
        """One look at a time: an answer that is older than the next question would answer the wrong one."""
        while self._loads:
            await self._load(self._loads[0])
            self._loads.popleft()

    async def _load(self, command: commands.Load) -> None:
        assert self._visible is not None
        given = LoadInput(asks=command.asks, state=self._visible.state, notes=command.notes)
        loaded = await calls.load(given)
        self._visible.show(None, loaded.reviewers, loaded.due)
        self._inbox.extend(_events_of(loaded))

    def _set_timer(self, command: commands.StartTimer) -> None:
        running = self._timers.pop(command.name, None)
        if running is not None:
            running.cancel()
        if command.summary is not None:
            self._start_wait(command, command.summary)
        elif command.seconds is not None:
            self._timers[command.name] = asyncio.create_task(self._fire(command.name, command.seconds, command.name))

    def _start_wait(self, command: commands.StartTimer, summary: str) -> None:
        """A node's wait ends at an absolute time, which is told once: a continued run waits for what is left."""
        until = command.until
        if until is None:
            until = math.ceil(workflow.time() + (command.seconds or 0))
            self._inbox.append(events.TimerStarted(command.name, until))
        left = until - workflow.time()
        if left > 0:
            self._timers[command.name] = asyncio.create_task(self._fire(command.name, left, summary))
        else:
            self._inbox.append(events.TimerFired(command.name))

    async def _fire(self, name: str, seconds: float, summary: str) -> None:
        await workflow.sleep(seconds, summary=summary)
        self._timers.pop(name, None)
        self._inbox.append(events.TimerFired(name))

    def _must_continue(self) -> bool:
        """Continue as new at a safe point; where branches never rest together, stop scheduling until they do."""
        if self._finish is not None or not self._is_long():
            return False
        self._pending.stop()
        return self._can_continue()

    def _is_long(self) -> bool:
        info = workflow.info()
        if info.get_current_history_length() < self._continue_from:
            return False
        return info.is_continue_as_new_suggested() or self._signals >= SIGNALS_BEFORE_CONTINUING

    def _can_continue(self) -> bool:
        return self._pending.idle and not self._inbox and self._is_at_rest() and self._is_long()

    async def _continue(self) -> None:
        snapshot: Json = {"state": to_json(self._state), "queued": self._pending.to_json()}
        text = _text(snapshot)
        if len(text) > MAX_SNAPSHOT_BYTES:
            # `admit` could not give it back in one event: go on here, and look again much later
            self._continue_from = workflow.info().get_current_history_length() + EVENTS_UNTIL_NEXT_TRY
            self._pending.go_on()
            return
        # signals come before whatever else a workflow task brings: a cancel beside them is heard hereafter
        await workflow.sleep(BEFORE_CONTINUING_S, summary="a moment for what came with the last wake")
        if len(text) > MAX_INLINE_BYTES:
            kept = await calls.keep(KeepInput(text=text))
            snapshot = {"artifact": kept.model_dump(mode="json")}
        # lets all run that can: `run` takes a cancel that came in one activation with what was waited for here
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._inbox:
            return  # a cancel came meanwhile, which no next execution would know of
        start = MarkedStart(vertebra=1, snapshot=snapshot)
        # said explicitly: an attribute that was unset is else handed on as null, which the next execution cannot read
        shown = workflow.info().typed_search_attributes
        workflow.continue_as_new(start.model_dump(mode="json", exclude_none=True), search_attributes=shown)

    def _restore(self, snapshot: Json) -> None:
        assert isinstance(snapshot, dict)
        self._state = from_json(snapshot["state"])
        self._pending.restore(snapshot["queued"])
        # timers do not continue: look at once for whatever was decided meanwhile, which also starts the next re-read;
        # of the nodes' waits the state knows the ends
        self._inbox.append(events.TimerFired("reread"))
        assert self._graph is not None
        for timer in running_timers(self._graph, self._state):
            self._set_timer(timer)

    async def _close(self, finish: commands.Finish) -> Json:
        for name in sorted(self._timers):
            self._timers.pop(name).cancel()
        await workflow.wait_condition(self._is_at_rest)
        await workflow.wait_condition(workflow.all_handlers_finished)
        assert self._visible is not None
        self._visible.show(finish.end, (), None)
        output, ref = finish.output, None
        if len(text := _text(output)) > MAX_INLINE_BYTES:
            ref = await calls.keep(KeepInput(text=text))
            output = {"artifact": ref.model_dump(mode="json")}
        given = CloseInput(end=finish.end, output=output, ref=ref, error=finish.error, by=finish.by, notes=finish.notes)
        standing = await calls.close(given)
        if standing is not None:
            self._visible.show(standing.end, (), None)
            return self._say(standing, "an earlier task of this run")
        return self._say(Ended(end=finish.end, output=output, error=finish.error), finish.by or "the graph")

    def _say(self, ended: Ended, by: str) -> Json:
        """Tell Temporal what the row says."""
        if ended.end == "completed":
            return ended.output
        if ended.end == "cancelled" and self._cancel_seen:
            raise asyncio.CancelledError
        message = ended.error.message if ended.error else f"{ended.end} by {by}"
        raise ApplicationError(message, type=ended.end.capitalize(), non_retryable=True)


def _text(value: object) -> str:
    """The JSON text of a value, as long as the payload that it would be."""
    return workflow.payload_converter().to_payload(value).data.decode()


def _events_of(loaded: Loaded) -> list[events.Event]:
    found: list[events.Event] = [events.HoldAnswered(answer) for answer in loaded.answers]
    if loaded.ended == "abort":
        found.append(events.CommandGiven("abort", by=loaded.ended_by))
    elif loaded.ended == "cancel":
        found.append(events.CancelAsked(loaded.ended_by or "operator"))
    if loaded.more:
        found.append(events.Woken())
    return found
