"""What operators say to runs: signed rows, which the run obeys when it looks, and the keeper when it has ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vertebra.client.people import acting
from vertebra.client.signing import About, Signer, signed
from vertebra.schemas.canonical import Json, digest_of, json_text
from vertebra.schemas.errors import BadInput, NotBlocked, NotFound, PolicyError, TooManyEvents
from vertebra.schemas.ids import ulid
from vertebra.schemas.run import MAX_EVENT_BYTES, MAX_EVENTS, MAX_EVENTS_BYTES
from vertebra.store.pool import Link
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, pipelined, trip

Verb = Literal["retry", "skip", "override", "abort", "cancel", "resume", "top_up", "renew", "event"]
OPERATORS = ("operator", "admin")
SENDERS = ("starter", *OPERATORS)
"""Who may send events."""
ON_NODES: tuple[Verb, ...] = ("retry", "skip", "override")


@dataclass(frozen=True, slots=True)
class Order:
    """One command. `arguments`: of `override` the node's result, of `top_up` and `renew` how much, of
    `event` its name and payload.

    A `retry` is written with the round of the block that it answers, so that it answers no later one.
    """

    verb: Verb
    node: str | None = None
    visit: int | None = None
    arguments: Json = None
    reason: str | None = None


async def command(connection: Link, signer: Signer, run: str, orders: Sequence[Order]) -> list[str]:
    """Write signed commands with a wake (for `resume` its own outbox row), as one transaction; gives their ids.

    Raises NotFound, PermissionDenied, BadInput, and PolicyError where the run's state does not fit: nothing is written.
    """
    await acting(connection, signer, SENDERS if all(order.verb == "event" for order in orders) else OPERATORS)
    row = await run_row(connection, run)
    queries: list[Query] = []
    ids: list[str] = []
    for order in orders:
        _check_state(row, order)
        placed = await _placed(connection, run, order)
        if order.verb == "event":
            await _check_room(connection, run, order)
        id_ = ulid(time.time_ns() // 1_000_000, secrets.token_bytes(10))
        queries += _queries(row, id_, placed, signer)
        ids.append(id_)
    async with pipelined(connection) as opened:
        await opened.commit(queries)
    return ids


async def run_row(connection: Link, run: str) -> Row:
    """The row of a run. Raises NotFound."""
    [rows] = await trip(connection, [Query("run", named("client", "run"), {"run": run})])
    if not rows:
        raise NotFound(f"there is no run {run!r}", do="list them with: vertebra runs list")
    return rows[0]


def _check_state(row: Row, order: Order) -> None:
    run, ended = row["id"], row["ended_at"] is not None
    if order.verb == "resume" and row["state"] == "completed":
        raise PolicyError(f"run {run!r} is completed: there is nothing to resume")
    if order.verb not in ("resume", "top_up", "renew") and ended:
        do = None if row["state"] == "completed" else f"go on with it by: vertebra resume {run}"
        raise PolicyError(f"run {run!r} has ended as {row['state']!r}", do=do)


async def _placed(connection: Link, run: str, order: Order) -> Order:
    """A command about a node names the visit that is blocked, a `retry` its round too. Raises NotBlocked."""
    if order.verb not in ON_NODES:
        return order
    [rows] = await trip(connection, [Query("waits", named("client", "waits"), {"run": run})])
    blocked = [row for row in rows if row["kind"] == "blocked"]
    mine = [row for row in blocked if row["node"] == order.node and order.visit in (None, row["visit"])]
    if not mine:
        names = ", ".join(f"{row['node']} (visit {row['visit']})" for row in blocked) or "none"
        raise NotBlocked(f"node {order.node!r} of run {run!r} is not blocked", do=f"blocked are: {names}")
    if len(mine) > 1:
        visits = ", ".join(str(row["visit"]) for row in mine)
        raise NotBlocked(f"node {order.node!r} is blocked in the visits {visits}", do="say which with --visit")
    arguments: Json = {"round": mine[0]["round"]} if order.verb == "retry" else order.arguments
    return Order(order.verb, order.node, mine[0]["visit"], arguments, order.reason)


async def _check_room(connection: Link, run: str, order: Order) -> None:
    """Raise BadInput for an event that is too large, TooManyEvents where the run holds enough.

    Who sends at the same moment is not counted. No look of the run reads more than that, whoever wrote it.
    """
    size = len(json_text(order.arguments).encode())
    if size > MAX_EVENT_BYTES:
        raise BadInput(f"the event has more than {MAX_EVENT_BYTES} bytes", do="send a reference to what is large")
    [[unread]] = await trip(connection, [Query("unread_events", named("client", "unread_events"), {"run": run})])
    if unread["number"] >= MAX_EVENTS or unread["bytes"] + size > MAX_EVENTS_BYTES:
        raise TooManyEvents(
            f"run {run!r} holds {unread['number']} events that nobody took, of {unread['bytes']} bytes; it may hold "
            f"{MAX_EVENTS}, of {MAX_EVENTS_BYTES} bytes",
            do=f"send it again when the run has taken some; see what it waits for: vertebra show {run}",
        )


def _queries(row: Row, id_: str, order: Order, signer: Signer) -> list[Query]:
    text = None if order.arguments is None else json_text(order.arguments)
    arguments_digest = None if text is None else digest_of(text.encode())
    about = About(
        kind="command",
        id=id_,
        run=row["id"],
        epoch=row["epoch"],
        node=order.node,
        visit=order.visit,
        verb=order.verb,
        arguments_digest=arguments_digest,
        reason=order.reason,
    )
    command_row = {
        "tenant": row["tenant"],
        "id": id_,
        "run": row["id"],
        "epoch": row["epoch"],
        "node": order.node,
        "visit": order.visit,
        "verb": order.verb,
        "arguments": None if text is None else text.encode(),
        "arguments_digest": arguments_digest,
        "reason": order.reason,
        **signed(signer, about).params,
    }
    kind = "resume" if order.verb == "resume" else "wake"
    outbox = {"tenant": row["tenant"], "kind": kind, "run": row["id"], "ref": f"command/{id_}"}
    return [
        Query("put_command", named("client", "put_command"), command_row),
        Query("put_outbox", named("client", "put_outbox"), outbox),
    ]
