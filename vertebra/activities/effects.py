"""The gated activities, one per kind of effect. A body runs only what the gate has let through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType

from temporalio import activity
from temporalio.exceptions import ApplicationError

from vertebra.activities import code, http, llm, tool
from vertebra.activities.performed import Caller, Performed
from vertebra.activities.world import World
from vertebra.schemas.call import CallInput, CallKind, Prepared
from vertebra.schemas.graph import CompiledGraph, Node

KINDS: dict[CallKind, ModuleType] = {"llm": llm, "tool": tool, "http": http, "code": code}
"""Every kind of effect. Its file's name is the activity type."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the gate gives to an activity body: the prepared request, and whom it acts for."""

    prepared: Prepared
    graph: CompiledGraph
    node: Node
    caller: Caller


ALLOWED: ContextVar[Allowed | None] = ContextVar("ALLOWED", default=None)


def bodies(world: World) -> list[Callable[[CallInput], Awaitable[Performed]]]:
    """The activities to register, one per kind."""
    return [_body(kind, world) for kind in KINDS]


def _body(kind: CallKind, world: World) -> Callable[[CallInput], Awaitable[Performed]]:
    @activity.defn(name=kind)
    async def body(given: CallInput) -> Performed:
        allowed = ALLOWED.get()
        if allowed is None or allowed.prepared.kind != kind:
            raise ApplicationError("this call did not come through the gate", type="NotGated", non_retryable=True)
        performed: Performed = await KINDS[kind].perform(
            allowed.prepared, allowed.graph, allowed.node, allowed.caller, world
        )
        return performed

    return body
