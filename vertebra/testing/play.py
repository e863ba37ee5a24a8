"""Plays one run to its end, or until nobody does anything about it: the shell's part, without Temporal.

The engine decides, the gate judges, the steps write; this only carries their commands out one after the other and lets
time pass where nothing else can happen. So a play of the same scenario is always the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from temporalio.client import Client

from vertebra.activities.admit import admit
from vertebra.activities.close import close
from vertebra.activities.decide import decide
from vertebra.activities.load import load
from vertebra.activities.open_approval import open_approval
from vertebra.client.starts import start_of
from vertebra.engine import commands, events
from vertebra.engine.advance import advance
from vertebra.engine.emitting import REREAD
from vertebra.engine.state import EMPTY, RunState, waits
from vertebra.schemas.call import Hold
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.errors import VertebraError
from vertebra.schemas.ids import RunId
from vertebra.schemas.run import Admission, AdmitInput, Ask, CloseInput, DecideInput, LoadInput, OpenApprovalInput
from vertebra.testing import acts
from vertebra.testing.acts import Acts, Decision
from vertebra.testing.calling import Calling
from vertebra.testing.clock import Due
from vertebra.testing.stage import TESTER, Stage
from vertebra.workers.gate.turns import Turns
from vertebra.workers.keeper import expiry, reminders
from vertebra.workers.keeper.duty import Office, Times

EXECUTION = "offline"
RAN_AWAY_S = 60.0
"""Of real time, for a whole play: none takes a second."""


class Play:
    """One run on a stage. `run` plays it; afterwards `state`, `finish` and `troubles` tell what became of it."""

    def __init__(self, stage: Stage, run: RunId, doing: Acts) -> None:
        self.stage, self.id = stage, run
        self.state: RunState = EMPTY
        self.finish: commands.Finish | None = None
        self.troubles: list[str] = []
        """Acts that were refused, and why."""
        self._acts = doing
        self._inbox: deque[events.Event] = deque()
        self._calls: dict[str, asyncio.Task[events.Event]] = {}
        self._timers: dict[str, Due] = {}
        self._seen: set[tuple[str, int]] = set()
        self._to_come = 0
        """Acts that somebody will do at a time."""
        self._expected: set[str] = set()
        """Requests that are meant to expire."""
        self._doing: deque[Callable[[], Awaitable[None]]] = deque()
        self._office = Office(stage.world, cast("Client", _Waking(self._inbox)), Times())

    async def run(self, given: Json) -> None:
        """Play it. Raises BadInput, and what a step raises that no worker could mend."""
        try:
            async with asyncio.timeout(RAN_AWAY_S):
                await self._play(given)
        finally:
            for task in self._calls.values():
                task.cancel()
            await asyncio.gather(*self._calls.values(), return_exceptions=True)

    async def _play(self, given: Json) -> None:
        admission = await self._admit(given)
        self._calling = Calling(self.stage, admission, EXECUTION, Turns(self.stage.pool))
        self._inbox.append(events.Admitted(admission.input))
        while self.finish is None:
            if self._inbox:
                await self._turn(self._inbox.popleft())
            elif self._doing:
                await self._doing.popleft()()
            elif not await self._go_on():
                return
        await self._close(self.finish)

    async def _admit(self, given: Json) -> Admission:
        """Through the one door, with a ticket that the tester signs."""
        published = self.stage.published
        start = start_of(published, given, self.stage.signers[TESTER.name], self.id)
        text = json_text(start.argument)
        asked = AdmitInput(
            graph=published.graph.name, text=text, marked=True, chain=EXECUTION, execution=EXECUTION, continued=False
        )
        return await admit(asked, self.id, self.stage.world)

    async def _turn(self, event: events.Event) -> None:
        self.state, todo = advance(self.stage.published.graph, self.state, event)
        for command in todo:
            await self._carry_out(command)
        for ask in waits(self.state):
            self._notice(ask)

    async def _carry_out(self, command: commands.Command) -> None:
        world = self.stage.world
        match command:
            case commands.Call():
                await self._call(command)
            case commands.CancelCall():
                await self._cancel(command.activity_id)
            case commands.Decide():
                output = await decide(DecideInput(requests=command.requests), world)
                self._inbox.append(events.Decided(command.id, output.answers))
            case commands.OpenApproval():
                await self._open_approval(command)
            case commands.Load():
                await self._load(command)
            case commands.StartTimer():
                self._set_timer(command)
            case commands.Finish():
                self.finish = command
            case commands.SetState() | commands.Park():
                pass

    async def _call(self, call: commands.Call) -> None:
        self._calls[call.activity_id] = asyncio.create_task(self._calling.scheduled(call))
        await self._until_it_rests(call.activity_id)

    async def _until_it_rests(self, activity_id: str) -> None:
        """One call is at work at a time; the others sleep until the clock wakes them."""
        task, rested = self._calls[activity_id], self.stage.clock.rested
        rested.clear()
        sleeps = asyncio.create_task(rested.wait())
        await asyncio.wait([task, sleeps], return_when=asyncio.FIRST_COMPLETED)
        sleeps.cancel()
        if task.done():
            del self._calls[activity_id]
            self._inbox.append(await task)

    async def _cancel(self, activity_id: str) -> None:
        task = self._calls.pop(activity_id, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._inbox.append(await task)
                return
        self._inbox.append(events.CallCancelled(activity_id))

    async def _open_approval(self, command: commands.OpenApproval) -> None:
        given = OpenApprovalInput(node=command.node, visit=command.visit, round=command.round, show=command.show)
        opened = await open_approval(given, self.id, self.stage.world)
        hold = Hold(kind="approval", id=opened.id, until=opened.until)
        self._inbox.append(events.HoldOpened(f"{command.node}#{command.visit}", hold))

    async def _load(self, command: commands.Load) -> None:
        given = LoadInput(asks=command.asks, state=self.state.shown, notes=command.notes)
        loaded = await load(given, self.id, EXECUTION, self.stage.world)
        self._inbox.extend(events.HoldAnswered(answer) for answer in loaded.answers)
        if loaded.ended == "abort":
            self._inbox.append(events.CommandGiven("abort", by=loaded.ended_by))
        elif loaded.ended == "cancel":
            self._inbox.append(events.CancelAsked(loaded.ended_by or "operator"))
        if loaded.more:
            self._inbox.append(events.Woken())

    def _set_timer(self, command: commands.StartTimer) -> None:
        running = self._timers.pop(command.name, None)
        if running is not None:
            running.void = True
        fired = partial(self._fire, command.name)
        if command.summary is not None:
            self._timers[command.name] = self.stage.clock.at(self._end_of_wait(command), fired)
        elif command.seconds is not None:
            self._timers[command.name] = self.stage.clock.after(command.seconds, fired)

    def _end_of_wait(self, command: commands.StartTimer) -> datetime:
        """A node's wait ends at an absolute time, which is told once."""
        until = command.until
        if until is None:
            until = math.ceil(self.stage.clock.now().timestamp() + (command.seconds or 0))
            self._inbox.append(events.TimerStarted(command.name, until))
        return datetime.fromtimestamp(until, UTC)

    def _fire(self, name: str) -> None:
        self._timers.pop(name, None)
        self._inbox.append(events.TimerFired(name))

    async def _close(self, finish: commands.Finish) -> None:
        for name in sorted(self._timers):
            self._timers.pop(name).void = True
        given = CloseInput(end=finish.end, output=finish.output, error=finish.error, by=finish.by, notes=finish.notes)
        await close(given, self.id, self.stage.world)

    # ---- time and people -------------------------------------------------------------------------------------------

    def _notice(self, ask: Ask) -> None:
        """Somebody who waits for this is told, once per round."""
        if (ask.ref, ask.round) in self._seen:
            return
        self._seen.add((ask.ref, ask.round))
        pause = self.stage.published.graph.nodes[ask.node].pause
        act = self._acts.answer(ask, pause.event if pause is not None else None)
        if isinstance(act, Decision) and act.verb == "expire":
            self._expected.add(ask.ref)
        elif isinstance(act, Decision):
            self._plan(act.after_s, partial(acts.decide, self.stage, ask.ref, act), f"{act.verb} of {ask.node}")
        elif act is not None:
            self._plan(act.after_s, partial(acts.command, self.stage, self.id, act), act.verb)

    def _plan(self, after_s: int, act: Callable[[], Awaitable[None]], name: str) -> None:
        self._to_come += 1
        self.stage.clock.after(after_s, lambda: self._doing.append(partial(self._do, act, name)))

    async def _do(self, act: Callable[[], Awaitable[None]], name: str) -> None:
        """Somebody acts, and the run is woken as by the outbox."""
        self._to_come -= 1
        try:
            await act()
        except VertebraError as refused:
            self.troubles.append(f"{name} was refused: {refused}")
        self._inbox.append(events.Woken())

    async def _go_on(self) -> bool:
        """Let time pass until something happens; False: nothing ever will."""
        if not self._may_go_on():
            ending = self._acts.ending()
            if ending is None:
                return False
            self._plan(ending.after_s, partial(acts.command, self.stage, self.id, ending), ending.verb)
        told, due = self._next_reminder(), self.stage.clock.next()
        if told is not None and (due is None or told <= due):
            self.stage.clock.go_to(told)
            await reminders.do(self._office)
            await expiry.do(self._office)
            self._inbox.append(events.Woken())
            return True
        if due is None:
            return False
        sleeper = self.stage.clock.take()
        sleeper.do()
        woken = [name for name, task in self._calls.items() if task is sleeper.sleeper]
        for name in woken:
            await self._until_it_rests(name)
        return True

    def _may_go_on(self) -> bool:
        own_timers = any(name != REREAD for name in self._timers)
        expiring = any(ask.ref in self._expected for ask in waits(self.state))
        return bool(self._calls) or self._to_come > 0 or own_timers or expiring

    def _next_reminder(self) -> datetime | None:
        """When the keeper has something to tell next: a reminder, an escalation, an expiry."""
        times: list[datetime] = []
        for row in self.stage.pool.rows.of("approvals", run=self.id, state="pending"):
            times += [at for at, _ in reminders.times_of(row)][row["reminded"] :]
            times += [row["expires_at"]] if row["expires_at"] else []
        return min(times, default=None)


class _Waking:
    """Stands for Temporal's client where the keeper wakes a run: a signal, of any name, is a look."""

    def __init__(self, inbox: deque[events.Event]) -> None:
        self._inbox = inbox

    def get_workflow_handle(self, run: str) -> _Waking:
        return self

    async def signal(self, name: str, *, rpc_timeout: timedelta) -> None:
        self._inbox.append(events.Woken())
