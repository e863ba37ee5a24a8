"""More commands and decisions than one look could verify: a run obeys the true one behind them all the same."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowFailureError

from tests.attacks.forging import Forgery, flood, flood_decisions, forge_command, told
from tests.attacks.graphs import published, text_of
from tests.attacks.test_commands import counted
from tests.attacks.test_decisions import parked
from tests.integration.runs.waits import ended, row_of, waiting
from tests.stage import Stage
from vertebra.activities import orders
from vertebra.schemas.errors import StoreError
from vertebra.schemas.run import MAX_ORDERS, MAX_ORDERS_BYTES, MAX_SAID_BYTES, Ask
from vertebra.store.queries import named
from vertebra.store.transaction import Query, once

pytestmark = [pytest.mark.attack, pytest.mark.server]

HEARS = "  hear: {type: wait, event: paid, form: {amount: {type: integer, required: true}}, write: {said: sent_by}}\n"
LOOKS = 5
LARGE = b'{"tokens": 1, "x": "' + b"x" * 60_000 + b'"}'
OF_A_NODE: dict[str, object] = {"node": "hear", "visit": 1}


async def read_by_look(run: str, stage: Stage) -> list[int]:
    """How many commands each look has read, in order: what one look notes bears the time of its transaction."""
    rows = await stage.sql(
        "select count(*) as number from commands where run = %(run)s group by consumed_at order by consumed_at", run=run
    )
    return [row["number"] for row in rows]


@pytest.mark.parametrize(
    ("verb", "forgery", "operation"),
    [
        ("abort", Forgery("not signed", signature=b""), "command_refused"),
        ("abort", Forgery("by somebody without a role", by="mallory"), "command_refused"),
        ("top_up", Forgery("genuine", arguments=b'{"tokens": 1}'), "command_top_up"),
        ("skip", Forgery("genuine, of a node that is not blocked", says=OF_A_NODE), "command_skip"),
    ],
    ids=["unsigned", "without a role", "top-ups", "skips"],
)
async def test_a_flood_of_commands_keeps_no_run_from_an_abort(
    stage: Stage, verb: str, forgery: Forgery, operation: str
) -> None:
    """One wake is enough: look follows look, none reads more than it can verify, each command is read once and told."""
    handle = await stage.start(await published(stage, text_of("floods", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")

    await flood(stage, handle.id, forgery, LOOKS * MAX_ORDERS, verb)
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 120)

    assert "aborted" == (await row_of(handle.id, stage))["state"]
    assert [MAX_ORDERS] * LOOKS + [1] == await read_by_look(handle.id, stage)
    assert LOOKS * MAX_ORDERS == len(await told(handle.id, operation, stage))


async def test_large_commands_are_read_by_the_bytes(stage: Stage) -> None:
    """A look reads so many bytes of arguments, and what is larger than a look may read is never a row."""
    handle = await stage.start(await published(stage, text_of("large", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")

    await flood(stage, handle.id, Forgery("genuine", arguments=LARGE), 100, "top_up")
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)

    [first, second] = await read_by_look(handle.id, stage)
    assert 101 == first + second
    assert (first - 1) * len(LARGE) < MAX_ORDERS_BYTES
    for arguments, reason in ((b" " * (MAX_ORDERS_BYTES + 1), None), (None, "x" * MAX_SAID_BYTES)):
        too_large = Forgery("too large to be looked at", arguments=arguments, columns={"reason": reason})
        with pytest.raises(StoreError, match="commands_size_ck"):
            await forge_command(stage, handle.id, "top_up", too_large)


async def test_what_was_looked_at_is_not_verified_again(stage: Stage) -> None:
    """Later looks read what may still answer, as much as one can verify; a new command is always among it."""
    handle = await stage.start(await published(stage, text_of("again", HEARS)), {"text": "x"})
    await waiting(handle.id, stage, "event")
    skip = Forgery("genuine", says=OF_A_NODE)
    for verb, forgery, number in (
        ("skip", Forgery("not signed", says=OF_A_NODE, signature=b""), 1),
        ("abort", Forgery("by somebody without a role", by="mallory"), 1),
        ("top_up", Forgery("genuine", arguments=b'{"tokens": 1}'), 2),
        ("skip", skip, MAX_ORDERS + 1),
    ):
        await flood(stage, handle.id, forgery, number, verb)
    await stage.wake(handle.id)
    await counted(handle.id, stage, "command_skip", MAX_ORDERS + 1)

    async def read(*asks: Ask) -> list[str]:
        [commands, _] = await once(stage.world.pool, orders.reads(handle.id, asks))
        return [row["verb"] for row in commands]

    blocked = Ask(ref="hear#1", kind="blocked", node="hear", visit=1)
    assert ["top_up"] == await read()
    assert ["top_up", *["skip"] * MAX_ORDERS] == await read(blocked)
    await flood(stage, handle.id, skip, 1, "skip")
    assert ["top_up", *["skip"] * (MAX_ORDERS + 1)] == await read(blocked)


async def test_a_flood_of_decisions_keeps_no_run_from_the_true_one(stage: Stage) -> None:
    """One wake is enough: the forged ones are read so many at a time, and the true one behind them decides."""
    handle, approval = await parked(stage)

    await flood_decisions(stage, approval, Forgery("by somebody without the role", by="mallory"), LOOKS * MAX_ORDERS)
    await stage.decide(approval, "approve")
    output, row = await ended(handle, stage)

    rows = await stage.sql(
        "select count(*) as number from decisions where approval = %(id)s group by consumed_at order by consumed_at",
        id=approval,
    )
    assert "completed" == row["state"]
    assert "answered" == output["status"]
    assert [MAX_ORDERS] * LOOKS + [1] == [found["number"] for found in rows]
    assert LOOKS * MAX_ORDERS == len(await told(handle.id, "decision_refused", stage))
    send = {"run": handle.id, "activity_id": "send#1", "node": "send", "visit": 1}
    [judged] = await once(stage.world.pool, [Query("approvals", named("gate", "approvals"), send)])
    assert ["ada"] == [found["person"] for found in judged]


UNUSABLE = {
    "a context that is no name": ("renew", b'{"context":{"a":1},"seconds":60}', 1),
    "more than the books can hold": ("top_up", b'{"microusd":%d}' % (2**53 - 1), 1100),
    "more tokens than the books can hold": ("top_up", b'{"tokens":%d}' % (2**53 - 1), 1100),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_what_cannot_be_carried_out_keeps_no_run_from_an_abort(stage: Stage, name: str) -> None:
    """An operator may sign anything; what no row can hold is refused and told, and the look goes on."""
    verb, arguments, number = UNUSABLE[name]
    handle = await stage.start(
        await published(stage, text_of(f"odd{list(UNUSABLE).index(name)}", HEARS)), {"text": "x"}
    )
    await waiting(handle.id, stage, "event")

    await flood(stage, handle.id, Forgery("genuine", arguments=arguments), number, verb)
    await stage.command(handle.id, "abort")
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)

    assert "aborted" == (await row_of(handle.id, stage))["state"]
    assert number == len(await told(handle.id, "command_refused", stage))
