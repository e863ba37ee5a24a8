"""Carry out signed `resume` commands: open the run's row, once; then let Temporal go on, tried until it does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

import structlog
from structlog.typing import FilteringBoundLogger

from vertebra.activities import entries, orders
from vertebra.activities.orders import check_command
from vertebra.policies.decision import author_of
from vertebra.policies.signature import check_times
from vertebra.schemas.errors import BadSignature, PermissionDenied, PolicyError
from vertebra.store.people import people_of, signed_of
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, Transaction, once, transaction
from vertebra.workers.keeper import executions, restart
from vertebra.workers.keeper.duty import Duty, Office
from vertebra.workers.keeper.executions import Standing
from vertebra.workers.keeper.unseen import close_unseen

AT_ONCE = 5
PASSES = 4
"""Steps that one try takes at most; each asks Temporal anew."""
Step = Literal["again", "wait", "done"]
"""`again` at once, with what Temporal says now; `wait` for a later try."""

_log: FilteringBoundLogger = structlog.get_logger("vertebra.keeper")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a command comes to: refused or already carried out (`done`), to be looked at again, or to be carried out."""

    step: Step | Literal["close", "wake", "revive"]
    head: Row | None = None


async def do(office: Office) -> int:
    """Take up the resumes that are due. Raises RPCError, StoreError after all were tried; they come up again."""
    params = {"limit": AT_ONCE, "lease_s": office.times.lease_s}
    [rows] = await once(office.world.pool, [Query("claim_resumes", named("keeper", "claim_resumes"), params)])
    for result in await asyncio.gather(*(_try(office, row) for row in rows), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
    return len(rows)


async def _try(office: Office, row: Row) -> None:
    finished = False
    try:
        finished = await _carry_out(office, row["run"], row["ref"].removeprefix("command/"))
    finally:
        after = "done" if finished else "postpone"
        await once(office.world.pool, [Query(after, named("keeper", after), {"id": row["id"]})])


async def _carry_out(office: Office, run: str | None, command: str) -> bool:
    """True when nothing is left to do."""
    for _ in range(PASSES):
        [places] = await once(office.world.pool, [Query("place", named("keeper", "place"), {"run": run})])
        if not places:
            _log.warning("a resume names no run", run=run, command=command)
            return True
        [place] = places
        found = await executions.standing(office.client, place["id"], place["chain"], place["execution_id"])
        step = await _step(office, place, command, found)
        if step != "again":
            return step == "done"
    return False


async def _step(office: Office, place: Row, command: str, found: Standing) -> Step:
    run = place["id"]
    ruling = await _rule(office, run, command, found)
    match ruling.step:
        case "close":
            return "again" if await close_unseen(office, place, found) else "wait"
        case "wake":
            await executions.wake(office, run)
            return "done"
        case "revive":
            assert ruling.head is not None
            return await _revive(office, ruling.head, command, found)
    return ruling.step


async def _rule(office: Office, run: str, command: str, found: Standing) -> Ruling:
    """Judge the command under the lock of the run's row, and open the row if it counts."""
    of_command = {"id": command}
    queries = [
        Query("lock_run", named("keeper", "lock_run"), {"run": run}),
        Query("command", named("keeper", "command"), of_command),
        Query("command_signers", named("keeper", "command_signers"), of_command),
    ]
    async with transaction(office.world.pool, "keeper_resume") as opened:
        heads, commands, signers = await opened.trip(queries)
        if not commands:
            _log.warning("a resume names no command", run=run, command=command)
            return Ruling("done")
        if not heads:
            return Ruling("wait")
        head, row = heads[0], commands[0]
        if row["consumed_at"] is not None:
            return _standing(head, row, found)
        try:
            _check(head, row, signers)
            if head["ended_at"] is not None:
                _check_ended(head, row)
        except PolicyError as error:
            await _refuse(office, opened, head, row, error)
            return Ruling("done")
        if head["ended_at"] is None and not found.lives:
            return Ruling("wait" if head["reviving"] else "close")
        if head["ended_at"] is None:
            await _note_wake(office, opened, head, row)
            return Ruling("wake")
        await _reopen(office, opened, head, row)
        return Ruling("revive", head)


def _standing(head: Row, row: Row, found: Standing) -> Ruling:
    """What is left of a command that was judged before: it was refused, was a wake, or opened the row."""
    if head["ended_at"] is not None:
        return Ruling("done")
    if row["applied_at"] is None:
        return Ruling("wake" if found.lives else "done")
    return Ruling("revive", head) if head["resume_command"] == row["id"] else Ruling("done")


def _check(head: Row, row: Row, signers: list[Row]) -> None:
    """Raise PolicyError unless an operator signed this very command for this run."""
    signed = signed_of(row)
    statement, person = author_of(signed, "command", people_of(signers))
    check_times(statement, signed.at)
    check_command(statement, person, row)
    if (row["verb"], row["run"]) != ("resume", head["id"]):
        raise BadSignature(f"a {row['verb']!r} of run {row['run']!r} was signed, no resume of this run")


def _check_ended(head: Row, row: Row) -> None:
    """Raise PolicyError if an ended run may not be resumed by this command."""
    if head["state"] == "completed":
        raise PermissionDenied("the run is completed, and completed runs are not resumed", do="start a new run")
    if row["epoch"] != head["epoch"]:
        raise BadSignature(
            f"the command was signed in epoch {row['epoch']}, and the run is in epoch {head['epoch']}",
            do=f"sign it again: vertebra resume {head['id']}",
        )


async def _refuse(office: Office, opened: Transaction, head: Row, row: Row, error: PolicyError) -> None:
    told = entries.event(
        office.world,
        "command_refused",
        row["person"],
        run=head,
        outcome="denied",
        success=False,
        error=str(error),
        verb=row["verb"],
        command=row["id"],
    )
    await _commit(office, opened, [orders.consume_query(row), *entries.append(head, [told], office.world)])
    _log.warning("a resume was refused", run=head["id"], command=row["id"], error=str(error))


async def _note_wake(office: Office, opened: Transaction, head: Row, row: Row) -> None:
    """The run is alive: nothing is resumed."""
    told = entries.event(
        office.world,
        "command_resume",
        row["person"],
        run=head,
        outcome="woken",
        reason=row["reason"],
        command=row["id"],
    )
    await _commit(office, opened, [orders.consume_query(row), *entries.append(head, [told], office.world)])


async def _reopen(office: Office, opened: Transaction, head: Row, row: Row) -> None:
    """Open the row one epoch later, with the money and time that were given meanwhile: its first call needs them."""
    commands, people = await opened.trip(orders.reads(head["id"]))
    changes = [command for command in commands if command["verb"] in orders.CHANGES]
    ordered = orders.judged(changes, people_of(people), head, office.world)
    told = entries.event(
        office.world,
        "resumed",
        row["person"],
        run=head,
        spine=head["graph"],
        reason=row["reason"],
        command=row["id"],
        epoch=head["epoch"] + 1,
        ended_as=head["state"],
    )
    await _commit(
        office,
        opened,
        [
            Query("reopen_run", named("keeper", "reopen_run"), {"run": head["id"], "command": row["id"]}),
            orders.consume_query(row),
            Query("apply_command", named("steps", "apply_command"), {"id": row["id"]}),
            *ordered.writes,
            *entries.append(head, [*ordered.told, told], office.world),
        ],
    )


async def _commit(office: Office, opened: Transaction, writes: list[Query]) -> None:
    """The last trip of a ruling; what it looked at first is counted after it."""
    orders.tell_received(office.world, writes, await opened.commit(writes))


async def _revive(office: Office, head: Row, command: str, found: Standing) -> Step:
    """Let Temporal go on: nothing if it does, a reset where it holds the history, else a start."""
    if found.lives:
        await executions.wake(office, head["id"])
        return "done"
    if found.other is not None and found.other.end is None:
        return "wait"  # our own start before it is admitted, or somebody else's before it is refused
    if found.mine is not None and found.mine.end != "timed_out":  # a reset keeps the deadline that has passed
        point = await _point(office, head["id"], found.mine.id)
        if point is not None and not await _is_reviving(office, head["id"], command):
            return "again"  # a reset would end what lives now
        made = None if point is None else await _reset(office, head["id"], command, found.mine.id, point)
        if made is not None:
            return "done" if made == found.mine.id else "again"  # the same id: it went on, and has ended again
    return await _start(office, head, command, found)


async def _point(office: Office, run: str, execution: str) -> int | None:
    [rows] = await once(office.world.pool, [Query("done", named("keeper", "done_activities"), {"run": run})])
    done = frozenset(row["activity_id"] for row in rows)
    return (await restart.scan(office.client, run, execution)).point(done)


async def _is_reviving(office: Office, run: str, command: str) -> bool:
    """Whether it still is this command that opened the run: a worker may stand still over its history."""
    [[place]] = await once(office.world.pool, [Query("place", named("keeper", "place"), {"run": run})])
    return bool(place["reviving"] == command)


async def _reset(office: Office, run: str, command: str, execution: str, point: int) -> str | None:
    made = await restart.reset(office.client, run, execution, command, point)
    if made is not None:
        params = {"run": run, "execution_id": made}
        await once(office.world.pool, [Query("touch_execution", named("steps", "touch_execution"), params)])
    return made


async def _start(office: Office, head: Row, command: str, found: Standing) -> Step:
    made = await restart.start(office.client, head, await _input(office, head), command)
    if made is not None and found.other is not None and made == found.other.id:
        _log.warning("a resumed run ended before it was admitted", run=head["id"], command=command)
        return "done"  # `unseen` closes the row; another command may try again
    return "wait"


async def _input(office: Office, head: Row) -> str:
    """The JSON text that the run was started with."""
    if head["input"] is not None:
        return bytes(head["input"]).decode()
    return (await office.world.artifacts.get(head["tenant"], head["input_artifact"])).decode()


RESUME = Duty("resume", do, lambda times: times.resume_s, AT_ONCE)
