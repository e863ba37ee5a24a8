"""The person of the fault tests: approves, tops up and unblocks whatever waits, until every run has ended."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from tests.faults.plant import Plant, patiently
from vertebra.client import approvals, commands
from vertebra.client.signing import Signer
from vertebra.schemas.errors import VertebraError
from vertebra.store.pool import connect
from vertebra.store.transaction import Row

LOOK_S = 0.3
AGAIN_S = {"top_up": 20.0, "renewal": 20.0}
"""By kind: when the same wait is answered again, since a limit may not suffice and a renewal may end. Any other gets
one answer, however long its run takes to hear it: a node that blocks again, an approval asked anew, is a new wait."""
RENEWED_S = 2 * 86_400


@dataclass
class Operator:
    """Acts through the rows alone, as the CLI does, and leaves every wake to the outbox."""

    plant: Plant
    runs: Sequence[str]
    unblock: Callable[[Row], commands.Order] = lambda wait: commands.Order("retry", wait["node"], wait["visit"])
    """What is said about a blocked node."""
    did: Counter[str] = field(default_factory=Counter)
    """What was said how often."""
    _again: dict[tuple[str, str, datetime], float] = field(default_factory=dict)
    """When a wait may be answered again: its row stands for a while after the run has heard."""

    async def until_all_ended(self, timeout_s: float) -> list[Row]:
        """The rows of the runs. Raises TimeoutError with what is left."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = await self.plant.sql("select * from runs where id = any(%(runs)s)", runs=list(self.runs))
            left = [row for row in rows if row["ended_at"] is None]
            if len(rows) == len(self.runs) and not left:
                return rows
            if time.monotonic() > deadline:
                states = {row["id"]: row["state"] for row in left}
                raise TimeoutError(f"{len(rows)} of {len(self.runs)} started; not ended: {states}; said: {self.did}")
            await self.act()
            await asyncio.sleep(LOOK_S)

    async def until_done(self, task: asyncio.Task[None]) -> None:
        """Answer whatever waits for as long as something else is at work. Raises what that raised."""
        while not task.done():
            await self.act()
            await asyncio.sleep(LOOK_S)
        task.result()

    async def act(self) -> None:
        """Answer everything that waits now and is not answered yet."""
        waits = await self.plant.sql(
            "select * from waits where run = any(%(runs)s) order by run, ref", runs=list(self.runs)
        )
        for wait in waits:
            key = (wait["run"], wait["ref"], wait["since"])
            if time.monotonic() > self._again.get(key, 0) and await patiently(partial(self._answer, wait)):
                self._again[key] = time.monotonic() + AGAIN_S.get(wait["kind"], math.inf)

    async def _answer(self, wait: Row) -> bool:
        """False if it was too early or too late; the next look shows what is true then."""
        signer = Signer("ada", self.plant.stage.keys["ada"])
        connection = await patiently(lambda: connect(self.plant.migrated.dsn("vertebra_api")))
        async with connection:
            try:
                if wait["kind"] == "approval":
                    found = await approvals.approval(connection, wait["ref"])
                    await approvals.decide(connection, signer, found, approvals.Verdict("approve", found.asked.digest))
                else:
                    await commands.command(connection, signer, wait["run"], [self._order(wait)])
            except VertebraError as error:
                if "Postgres" in str(error):
                    raise
                self.did[f"refused: {type(error).__name__}"] += 1
                return False
        self.did[_named(wait)] += 1
        return True

    def _order(self, wait: Row) -> commands.Order:
        if wait["kind"] == "top_up":
            return commands.Order("top_up", arguments={"microusd": 500_000, "tokens": 40_000})
        if wait["kind"] == "renewal":
            return commands.Order("renew", arguments={"seconds": RENEWED_S, "context": wait["ref"]})
        return self.unblock(wait)


def _named(wait: Row) -> str:
    """The kind of the wait; of a blocked node why it is."""
    return str(wait["kind"] if wait["error"] is None else json.loads(bytes(wait["error"]))["type"])
