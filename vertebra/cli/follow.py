"""Follows runs until each has ended or waits for a person: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vertebra.cli.endings import DONE, FAILED, NEEDS_PERSON
from vertebra.cli.output import Output, money, one_line, span, stamp
from vertebra.client.runs import PARKED, error_of, standing
from vertebra.schemas.canonical import Json
from vertebra.store.pool import Connection
from vertebra.store.transaction import Row

EVERY_S = 0.25
_ASK_AFTER = 8
"""Looks without a row until Temporal is asked whether the start was refused."""
_HINT_AFTER = 24
_EVENTS_SHOWN = 3
_STATE, _MIN_AT, _MIN_ID, _GAP = 14, 8, 12, 2
_FIGURES = {"DONE": 4, "COST": 9, "TIME": 6}
_KEPT_LONGEST = ("COST", "TIME", "DONE")


@dataclass(slots=True)
class Follower:
    """What is known of each run; `refused` asks Temporal why a run never came to be."""

    runs: Sequence[str]
    out: Output
    refused: Callable[[str], Awaitable[str | None]]
    rows: dict[str, Row] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _looks: int = 0

    async def follow(self, connection: Connection) -> int:
        """Follow to the end; the exit code. Whoever interrupts it is told that the runs go on."""
        try:
            if self.out.as_json or not sys.stdout.isatty():
                await self._until_settled(connection, self._lines)
            else:
                await self._live(connection)
        except asyncio.CancelledError:  # Ctrl-C
            again = f"runs watch {self.runs[0]}" if len(self.runs) == 1 else "runs list"
            self.out.say(f"not followed any more; what was started goes on: vertebra {again}")
            raise
        return self.code

    @property
    def settled(self) -> bool:
        """Whether no run goes on by itself."""
        return all(self._is_settled(run) for run in self.runs)

    @property
    def code(self) -> int:
        """1 if one failed, else 3 if one waits for a person, else 0."""
        states = {self.state(run) for run in self.runs}
        if states - {"completed", "running", "starting", *PARKED}:
            return FAILED
        return NEEDS_PERSON if states & set(PARKED) else DONE

    def state(self, run: str) -> str:
        if run in self.refusals:
            return "refused"
        row = self.rows.get(run)
        return "starting" if row is None else str(row["state"])

    def plain(self) -> list[Json]:
        """Every run for programs."""
        return [self._plain(run) for run in self.runs]

    def _is_settled(self, run: str) -> bool:
        row = self.rows.get(run)
        still_told = row is not None and row["told"]
        return self.state(run) not in ("running", "starting") and not still_told

    async def _until_settled(self, connection: Connection, show: Callable[[], None]) -> None:
        while True:
            await self._look(connection)
            show()
            if self.settled:
                return
            await asyncio.sleep(EVERY_S)

    async def _look(self, connection: Connection) -> None:
        going = [run for run in self.runs if not self._is_settled(run)]
        self.rows.update(await standing(connection, going))
        self._looks += 1
        missing = [run for run in going if run not in self.rows]
        if missing and self._looks % _ASK_AFTER == 0:
            for run in missing:
                if (why := await self.refused(run)) is not None:
                    self.refusals[run] = why
        if missing and self._looks == _HINT_AFTER:
            self.out.say(f"{len(missing)} of {len(self.runs)} runs wait for a worker; is one running? vertebra doctor")

    async def _live(self, connection: Connection) -> None:
        console = Console()
        with Live(console=console, refresh_per_second=8) as live:
            await self._until_settled(connection, lambda: live.update(self._table(self._by_need(console), console)))
            live.update(self._table(self.runs, console))

    def _by_need(self, console: Console) -> Sequence[str]:
        """Where not all runs fit on the screen, those that still move come first."""
        return self.runs if len(self.runs) < console.height - 1 else sorted(self.runs, key=self._is_settled)

    def _table(self, runs: Sequence[str], console: Console) -> Table:
        """Columns that keep their place while states change; of an id that does not fit, the end tells runs apart.

        On a narrow screen figures are left out rather than the ends of ids.
        """
        rows = [self.rows.get(run) for run in runs]
        at = max(_MIN_AT, *(len(row["node"] or "") for row in rows if row), 0)
        figures = _fitting(console.width - _STATE - at - 2 * _GAP)
        room = max(_MIN_ID, console.width - _STATE - at - 2 * _GAP - _taken(figures))
        shown = Table("RUN", box=None, pad_edge=False)
        shown.add_column("STATE", min_width=_STATE, no_wrap=True)
        shown.add_column("AT", min_width=_MIN_AT, no_wrap=True)
        for head in figures:
            shown.add_column(head, min_width=_FIGURES[head], justify="right", no_wrap=True)
        listening = [line for row in rows if row and row["ended_at"] is None for line in _listens(row)]
        shown.caption = Text("\n".join(listening[:_EVENTS_SHOWN]))
        for run, row in zip(runs, rows, strict=True):
            state = self.state(run)
            name = Text(run if len(run) <= room else "…" + run[1 - room :], no_wrap=True)
            shown.add_row(name, Text(state, style=_style(state)), *(self._progress(row, figures) if row else ()))
        return shown

    def _lines(self) -> None:
        """One line for each change of a run, on standard error if standard output is for programs."""
        for run in self.runs:
            line = f"{run}  {self.state(run)}{self._detail(run)}"
            if self.state(run) == "starting" or self._told.get(run) == line:
                continue
            self._told[run] = line
            if self.out.as_json:
                self.out.say(line)
            else:
                self.out.give(None, line)

    def _detail(self, run: str) -> str:
        if run in self.refusals:
            return f": {self.refusals[run]}"
        row = self.rows.get(run)
        if row is None:
            return ""
        if row["ended_at"] is None and row["state"] == "running":
            return (f"  at {row['node']}" if row["node"] else "") + "".join(f"  {one}" for one in _listens(row))
        error = error_of(row)
        told = [f"{span((row['ended_at'] or row['now']) - row['started_at'])}", money(row["spent_microusd"])]
        told += [f"approval {id_}" for id_ in row["approvals"]] + [f"blocked {node}" for node in row["blocked"]]
        told += [] if row["ended_at"] else _listens(row)
        return "  " + "  ".join(told) + (f"  {error.type}: {one_line(error.message)}" if error else "")

    def _progress(self, row: Row, figures: Sequence[str]) -> list[Text]:
        length = (row["ended_at"] or row["now"]) - row["started_at"]
        told = {"DONE": str(row["done"]), "COST": money(row["spent_microusd"]), "TIME": span(length)}
        return [Text(row["node"] or ""), *(Text(told[head]) for head in figures)]

    def _plain(self, run: str) -> Json:
        row = self.rows.get(run)
        error = None if row is None else error_of(row)
        return {
            "run": run,
            "state": self.state(run),
            "approvals": [] if row is None else row["approvals"],
            "blocked": [] if row is None else row["blocked"],
            "cost_microusd": 0 if row is None else row["spent_microusd"],
            "tokens": 0 if row is None else row["spent_tokens"],
            "started_at": None if row is None else stamp(row["started_at"]),
            "ended_at": None if row is None else stamp(row["ended_at"]),
            "error": self.refusals.get(run) or (f"{error.type}: {error.message}" if error else None),
        }


def _listens(row: Row) -> list[str]:
    """What a run waits for that nobody is asked for, and how it is sent."""
    return [f"waits for event {event}: vertebra send {row['id']} {event}" for event in row["events"]]


def _fitting(width: int) -> tuple[str, ...]:
    """The figures that there is room for beside the end of an id, in their order on the screen."""
    for count in range(len(_KEPT_LONGEST), -1, -1):
        figures = tuple(head for head in _FIGURES if head in _KEPT_LONGEST[:count])
        if width - _taken(figures) >= _MIN_ID:
            break
    return figures


def _taken(figures: Sequence[str]) -> int:
    return sum(_FIGURES[head] + _GAP for head in figures)


def _style(state: str) -> str:
    if state in PARKED:
        return "yellow"
    return {"completed": "green", "running": "cyan", "starting": "dim"}.get(state, "red")


def hints(follower: Follower) -> list[str]:
    """What a person may do next about runs that wait."""
    found = []
    for run in follower.runs:
        row = follower.rows.get(run)
        if row is None or row["state"] not in PARKED:
            continue
        found += [f"vertebra approvals show {id_}" for id_ in row["approvals"]]
        found += [f"vertebra retry {run} {node}   (or skip, override, abort)" for node in row["blocked"]]
        if row["state"] == "over_budget":
            found.append(f"vertebra budgets top-up {run} --usd 1 --tokens 100000")
    return found
