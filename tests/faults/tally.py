"""What faults have done to a crowd of runs, counted: the client's record against ledger, vendor, mailbox and audit."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.faults.crowd import Crowd
from tests.faults.plant import Plant
from tests.stage import Stage
from tests.stores import KEYS
from vertebra.audit.read import verify_tenant
from vertebra.ledger.attempts import check_books_query
from vertebra.schemas.ids import DEFAULT_TENANT
from vertebra.store.pool import connect
from vertebra.store.transaction import once

_LOOK_S = 0.5


@dataclass
class Witness:
    """Reads the heads of the audit while runs are under way: what it has seen was durable, and must stay."""

    plant: Plant
    crowd: Crowd
    seen: set[tuple[str, int, bytes]] = field(default_factory=set)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """For the length of the block."""
        task = asyncio.create_task(self._watch())
        try:
            yield
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            rows = await self.plant.sql(
                "select id, audit_seq, audit_hash from runs where id = any(%(runs)s) and audit_seq > 0",
                runs=self.crowd.runs,
            )
            self.seen |= {(row["id"], row["audit_seq"], bytes(row["audit_hash"])) for row in rows}
            await asyncio.sleep(_LOOK_S)

    async def lost(self) -> int:
        """Entries that were seen and are not there any more, or are others now."""
        rows = await self.plant.sql(
            "select stream, seq, hash from audit where stream = any(%(runs)s)", runs=self.crowd.runs
        )
        return len(self.seen - {(row["stream"], row["seq"], bytes(row["hash"])) for row in rows})


@dataclass(frozen=True)
class Tally:
    """Figures of one crowd."""

    amounts: Mapping[str, int]
    """What was done."""
    faults: Mapping[str, int]
    """What must not be: all zero."""

    def __str__(self) -> str:
        rows = [*self.amounts.items(), *self.faults.items()]
        return "\n".join(["| count | |", "|---|---|", *(f"| {name} | {count} |" for name, count in rows)])


NONE: Mapping[str, int] = dict.fromkeys(
    (
        *("runs lost", "results other than recorded", "effects doubled", "effects lost", "replies bought twice unheld"),
        *("acknowledged audit entries lost", "budget drift", "chain errors"),
    ),
    0,
)


async def tally(plant: Plant, crowd: Crowd, witness: Witness) -> Tally:
    """Count everything that can be said of these runs."""
    stage, runs = plant.stage, crowd.runs
    await stage.owner.check()  # connections of before the last kill
    rows = await stage.sql("select id, state, output from runs where id = any(%(runs)s)", runs=runs)
    told = await crowd.results()
    recorded = {row["id"]: None if row["output"] is None else json.loads(bytes(row["output"])) for row in rows}
    attempts = await stage.sql("select state from attempts where run = any(%(runs)s)", runs=runs)
    sent, doubled, missing = await _mails(stage, runs)
    sold, again, unheld = await _sales(stage, runs)
    [drift] = await once(stage.owner, [check_books_query()])
    connection = await connect(str(stage.owner.conninfo))
    async with connection:
        report = await verify_tenant(connection, DEFAULT_TENANT, KEYS)
    amounts = {
        "runs acknowledged": len(runs),
        "runs completed": sum(row["state"] == "completed" for row in rows),
        "replies sold": sold,
        "bought again, the lost reservation held": again,
        "attempts lost with their process": sum(row["state"] == "unknown" for row in attempts),
        "mails": sent,
        "audit heads acknowledged": len(witness.seen),
        "audit entries verified": report.entries,
    }
    faults = {
        "runs lost": len(runs) - amounts["runs completed"],
        "results other than recorded": sum(told[run] != recorded.get(run) for run in runs),
        "effects doubled": doubled,
        "effects lost": missing,
        "replies bought twice unheld": unheld,
        "acknowledged audit entries lost": await witness.lost(),
        "budget drift": len(drift),
        "chain errors": len(report.findings),
    }
    return Tally(amounts, faults)


async def _mails(stage: Stage, runs: list[str]) -> tuple[int, int, int]:
    """Delivered; beyond the first of a visit; said to be sent and not there."""
    calls = await stage.sql(
        "select id, run, visit, status from calls where run = any(%(runs)s) and node = 'send'", runs=runs
    )
    delivered = {path.name for path in (stage.world.maildir / "new").glob("*")}
    visits = Counter((row["run"], row["visit"]) for row in calls if row["id"] in delivered)
    missing = sum(row["status"] == "done" and row["id"] not in delivered for row in calls)
    return visits.total(), sum(count - 1 for count in visits.values()), missing


async def _sales(stage: Stage, runs: list[str]) -> tuple[int, int, int]:
    """Sold; beyond the first of a call; of these, those that no settled or held attempt stands for."""
    wanted = set(runs)
    sold = Counter(str(sale["call_id"]) for sale in stage.bought() if sale["run"] in wanted)
    rows = await stage.sql(
        "select a.call, count(*) as paid from attempts a join calls c on c.id = a.call where a.run = any(%(runs)s)"
        " and c.kind = 'llm' and (a.state = 'settled' or a.state = 'unknown' and a.reserved_microusd > 0) group by 1",
        runs=runs,
    )
    paid = {row["call"]: int(row["paid"]) for row in rows}
    again = sum(count - 1 for count in sold.values())
    return sold.total(), again, sum(max(0, count - paid.get(call, 0)) for call, count in sold.items())
