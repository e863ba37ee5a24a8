"""What every act of the demo uses: commands that are shown and carried out, rows to look at, facts to hold it to."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vertebra.audit.trace import trace
from vertebra.boundary.signalling import kill
from vertebra.cli.demo.screen import Screen
from vertebra.cli.demo.services import VERTEBRA, Dev
from vertebra.cli.desk import open_desk
from vertebra.client import approvals
from vertebra.client.approvals import Approval
from vertebra.client.runs import Picture, picture, runs, standing
from vertebra.schemas.audit import Entry
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import VertebraError
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.store.transaction import Row

GRAPH = "customer-support"
LEAD = "ada"
"""Holds the role that large refunds are assigned to."""
_COMMAND_S = 90.0
_LOOK_EVERY_S = 0.1
_PATIENCE_S = 60.0


class CannotGoOn(VertebraError):
    """An act of the demo has nothing to go on with."""


@dataclass(slots=True)
class Play:
    """One performance in one folder."""

    folder: Path
    screen: Screen
    dev: Dev
    labels: dict[str, str] = field(default_factory=dict)
    """Run id to what it is called here, in the order of starting."""
    failures: list[str] = field(default_factory=list)
    checked: int = 0
    act: str = ""

    def check(self, held: bool, fact: str) -> None:
        """Show a fact that must hold; the demo succeeds only if all did."""
        self.checked += 1
        if held:
            self.screen.held(fact)
        else:
            self.fail(fact)

    def fail(self, fact: str) -> None:
        self.failures.append(f"{self.act}: {fact}")
        self.screen.broken(fact)

    def labelled(self, label: str) -> str:
        """The run of this label. Raises CannotGoOn."""
        for run, known in self.labels.items():
            if known == label:
                return run
        raise CannotGoOn(f"there is no run {label!r}: an earlier act did not get there")

    async def vertebra(self, *words: str, code: int | tuple[int, ...] = 0, within_s: float = _COMMAND_S) -> None:
        """Show and carry out a command that writes to the terminal itself; it must end with `code`, or one of them."""
        self.screen.command(("vertebra", *words))
        ended, _ = await run_program((*VERTEBRA, *words), self.folder, capture=False, within_s=within_s)
        self._check_code(words, ended, code)

    async def heard(self, *words: str, code: int = 0) -> str:
        """The same, and give what it said."""
        self.screen.command(("vertebra", *words))
        ended, said = await run_program((*VERTEBRA, *words), self.folder, capture=True)
        self.screen.line(said.rstrip())
        self._check_code(words, ended, code)
        return said

    async def program(self, *words: str) -> None:
        """Show and carry out another program."""
        self.screen.command(words)
        ended, said = await run_program(words, self.folder, capture=True)
        self.screen.line(said.rstrip())
        self._check_code(words, ended, 0)

    async def started(self, label: str, *words: str, code: int = 0) -> str:
        """Start one run by a command; its id. Raises CannotGoOn if it did not come to be."""
        known = {row["id"] for row in await self.runs()}
        await self.vertebra("run", GRAPH, *words, code=code)
        for _ in range(50):
            fresh = [row["id"] for row in await self.runs() if row["id"] not in known]
            if fresh:
                self.labels[fresh[0]] = label
                return str(fresh[0])
            await asyncio.sleep(_LOOK_EVERY_S)
        raise CannotGoOn("the run was not admitted", do="see .vertebra/logs/worker.log")

    async def runs(self) -> list[Row]:
        async with open_desk().database() as connection:
            return await runs(connection, limit=1000)

    async def picture(self, run: str) -> Picture:
        async with open_desk().database() as connection:
            return await picture(connection, run)

    async def state(self, run: str) -> str:
        async with open_desk().database() as connection:
            return str((await standing(connection, [run]))[run]["state"])

    async def pending(self, run: str) -> list[str]:
        """The approvals that this run waits for."""
        async with open_desk().database() as connection:
            return [str(row["id"]) for row in await approvals.pending(connection, run) if row["decided"] is None]

    async def approval(self, id_: str) -> Approval:
        async with open_desk().database() as connection:
            return await approvals.approval(connection, id_)

    async def record(self, run: str) -> list[Entry]:
        """What stands in the audit about this run."""
        async with open_desk().database("vertebra_reader") as connection:
            return [one.entry for one in await trace(connection, DEFAULT_TENANT, run)]

    async def until(self, run: str, reached: Callable[[Picture], bool], what: str) -> Picture:
        """Look at a run until it got there. Raises CannotGoOn."""
        deadline = time.monotonic() + _PATIENCE_S
        while not reached(found := await self.picture(run)):
            if time.monotonic() > deadline:
                raise CannotGoOn(f"{what} did not happen in {_PATIENCE_S:g} s; the run is {found.run['state']}")
            await asyncio.sleep(_LOOK_EVERY_S)
        return found

    def sales(self, run: str) -> Counter[str]:
        """How often each call of the run was bought: the scripted vendor's own book."""
        book = self.folder / ".vertebra" / "sales.jsonl"
        lines = book.read_text(encoding="utf-8").splitlines() if book.exists() else []
        sold: list[dict[str, Json]] = [json.loads(line) for line in lines]
        return Counter(str(sale["call_id"]) for sale in sold if sale["run"] == run)

    def mails(self, to: str) -> int:
        """How many mails to this address were delivered."""
        delivered = (self.folder / ".vertebra" / "mail" / "new").glob("*")
        return sum(f"to: {to}" in path.read_text(encoding="utf-8").lower() for path in delivered)

    def _check_code(self, words: tuple[str, ...], ended: int, code: int | tuple[int, ...]) -> None:
        self.checked += 1
        if ended not in (code if isinstance(code, tuple) else (code,)):
            self.fail(f"`{' '.join(words[:3])}` ended with {ended}, not {code}")


async def run_program(
    words: tuple[str, ...], folder: Path, *, capture: bool, within_s: float = _COMMAND_S
) -> tuple[int, str]:
    """Exit code, and what it said if that is captured. Raises CannotGoOn if it takes too long."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE if capture else None,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), within_s)
    except TimeoutError:
        raise CannotGoOn(f"`{' '.join(words)}` took more than {within_s:g} s") from None
    finally:
        if process.returncode is None:
            kill(process)
            await process.wait()
    assert process.returncode is not None
    return process.returncode, (said or b"").decode(errors="replace")
