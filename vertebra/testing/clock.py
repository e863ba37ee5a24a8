"""A clock that goes on only when nobody has anything else to do: four hours pass in no time.

What a run waits for (a backoff, a slow model, a reminder, a person who comes back tomorrow) stands in one queue; the
player takes the earliest and sets the clock to it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""Every play begins on this Monday morning, so that its output is always the same."""
_TICK = timedelta(microseconds=1)


@dataclass(order=True, slots=True)
class Due:
    """Something that happens at a time. Equal times are told apart by when they were asked for."""

    at: datetime
    serial: int
    do: Callable[[], None] = field(compare=False)
    sleeper: asyncio.Task[object] | None = field(compare=False, default=None)
    """The task that goes on then."""
    void: bool = field(compare=False, default=False)


class Clock:
    """The time of one play."""

    def __init__(self, start: datetime = START) -> None:
        self._start = self._now = start
        self._due: list[Due] = []
        self._serial = 0
        self.rested = asyncio.Event()
        """Set whenever somebody begins to sleep."""

    def now(self) -> datetime:
        return self._now

    def tick(self) -> datetime:
        """The time of a transaction: never that of another one, as on a server."""
        self._now += _TICK
        return self._now

    def elapsed(self) -> float:
        """Seconds since the start."""
        return (self._now - self._start).total_seconds()

    def at(self, when: datetime, do: Callable[[], None]) -> Due:
        """Have something done at a time; set `void` to take it back."""
        return self._put(Due(when, 0, do))

    def after(self, seconds: float, do: Callable[[], None]) -> Due:
        return self.at(self._now + timedelta(seconds=seconds), do)

    async def sleep(self, seconds: float) -> None:
        """Wait for the clock; only a task that the player drives may do so."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        due = self._put(Due(self._now + timedelta(seconds=seconds), 0, wake, asyncio.current_task()))
        self.rested.set()
        try:
            await woken
        finally:
            due.void = True

    def next(self) -> datetime | None:
        """When something is due next."""
        while self._due and self._due[0].void:
            heapq.heappop(self._due)
        return self._due[0].at if self._due else None

    def take(self) -> Due:
        """The earliest of what is due; it is that time now."""
        self.next()
        due = heapq.heappop(self._due)
        self.go_to(due.at)
        return due

    def go_to(self, when: datetime) -> None:
        """It is that time now; a clock never goes back."""
        self._now = max(self._now, when)

    def _put(self, due: Due) -> Due:
        self._serial += 1
        due.serial = self._serial
        heapq.heappush(self._due, due)
        return due
