"""How one attempt of a tool call ends, by what went wrong and by what the tool may have done."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from tests import make
from vertebra.activities import llm, tool
from vertebra.activities.performed import Caller, Performed
from vertebra.activities.world import World
from vertebra.boundary.secret_store import environment_secret
from vertebra.providers.registry import Providers
from vertebra.schemas.call import Prepared
from vertebra.schemas.canonical import Digest
from vertebra.schemas.errors import SandboxUnavailable, ToolError, ToolHostLost, ToolTimeout
from vertebra.schemas.graph import Effect, Node
from vertebra.schemas.llm import ModelRequest
from vertebra.tools.contract import Tool
from vertebra.tools.contract import tool as a_tool
from vertebra.tools.registry import Registry

LOST, LATE, OUT = ToolHostLost("the host died"), ToolTimeout("too long"), SandboxUnavailable("no sandbox")
DIGEST = Digest("sha256:" + "0" * 64)


def failing(effect: Effect, error: Exception | None = None, **terms: Any) -> Tool:
    """A tool that fails so, or answers."""

    @a_tool(effect=effect, runs="worker", **terms)
    def act() -> str:
        """Act."""
        if error is not None:
            raise error
        return "acted"

    return act


def world(*tools: Tool) -> World:
    return World(
        **cast("dict[str, Any]", dict.fromkeys(("pool", "artifacts", "audit_key", "seal_key", "cel", "prices"))),
        seal_keys={},
        registry=Registry(tools, trusted=("act",)),
        providers=Providers(()),
        project=Path(),
        maildir=Path(),
        worker="test",
        now=lambda: datetime.now(UTC),
        secret=environment_secret,
    )


async def performed(effect: Effect, error: Exception | None, node: Node, counted: int = 0, **terms: Any) -> Performed:
    prepared = Prepared(kind="tool", request=b"{}", digest=DIGEST, effect=effect, tool="act", arguments={})
    offered = world(failing(effect, error, **terms))
    return await tool.perform(prepared, make.graph([node]), node, caller(counted), offered)


def caller(counted: int = 0) -> Caller:
    return Caller("run", "default", "send", 1, 1, "call", counted + 1, counted, timeout_s=5)


NODE, AGENT = make.tool("send"), make.agent("send")


@pytest.mark.parametrize("node", [NODE, AGENT], ids=["node", "agent"])
@pytest.mark.parametrize("error", [LOST, LATE], ids=["host", "timeout"])
@pytest.mark.parametrize("effect", ["compensable", "irreversible"])
async def test_what_may_have_happened_is_lost_whoever_called(effect: Effect, error: ToolError, node: Node) -> None:
    """Neither a fallback nor a model may guess that it did not happen."""
    ended = await performed(effect, error, node)

    assert ("lost", "unknown") == (ended.status, ended.books)


@pytest.mark.parametrize("effect", ["idempotent", "keyed"])
async def test_a_models_call_is_repeated_under_its_own_key(effect: Effect) -> None:
    """Before the model reads of a failure, it is tried as often as the node says: a new call would have another key."""
    assert "again" == (await performed(effect, LATE, AGENT)).status

    last = await performed(effect, LATE, AGENT, counted=2)
    assert ("done", "released") == (last.status, last.books)
    assert last.result is not None
    assert last.result.failed


async def test_a_model_reads_at_once_how_a_tool_without_effects_failed() -> None:
    """It may write better code; the same again would fail again."""
    assert "done" == (await performed("pure", LATE, AGENT)).status
    assert "again" == (await performed("pure", LATE, NODE)).status


async def test_a_tool_has_no_more_time_than_its_attempt() -> None:
    """Temporal gives an attempt up soon after the node's timeout: the tool has ended by then, and says why."""

    @a_tool(effect="pure", runs="worker", timeout="1h")
    async def act() -> str:
        """Never end."""
        await asyncio.Event().wait()
        return "acted"

    prepared = Prepared(kind="tool", request=b"{}", digest=DIGEST, effect="pure", tool="act", arguments={})
    async with asyncio.timeout(10):
        ended = await tool.perform(prepared, make.graph([NODE]), NODE, replace(caller(), timeout_s=1), world(act))

    assert ended.error is not None
    assert ("ToolTimeout", "'act' took longer than 1 s") == (ended.error.type, ended.error.message)


async def test_what_the_machine_refuses_a_tool_is_an_outcome_with_its_reason() -> None:
    """A full disk is no dead worker: it is counted and told; only what may not be repeated is in doubt."""
    full = OSError(errno.ENOSPC, "No space left on device", "/place/of/mails")

    keyed, irreversible = await performed("keyed", full, NODE), await performed("irreversible", full, NODE)

    assert ("again", "released", True) == (keyed.status, keyed.books, keyed.counts)
    assert keyed.error is not None
    assert ("JobFailed", "'act': No space left on device") == (keyed.error.type, keyed.error.message)
    assert ("lost", "unknown") == (irreversible.status, irreversible.books)


async def test_what_never_left_is_no_doubt() -> None:
    """A refusal before the start is a plain failure, also of what is irreversible."""
    assert "failed" == (await performed("irreversible", OUT, NODE)).status
    assert "done" == (await performed("irreversible", OUT, AGENT)).status


async def test_a_tool_whose_secret_cannot_be_found_is_not_called() -> None:
    """Nothing left: the money is given back, and the call has failed."""
    ended = await performed("irreversible", None, NODE, secrets=["secret://nowhere/key"])

    assert ("failed", "released") == (ended.status, ended.books)
    assert ended.error is not None
    assert "SettingsError" == ended.error.type


async def test_a_model_without_its_adapter_is_not_called() -> None:
    """A priced vendor that this worker does not offer: no attempt stays held for it."""
    node = make.llm("send")
    request = ModelRequest(provider="elsewhere", model="m", system="", messages=(), prompt_pin=DIGEST)
    prepared = Prepared(kind="llm", request=request.canonical, digest=DIGEST, effect="idempotent")

    ended = await llm.perform(prepared, make.graph([node]), node, caller(), world())

    assert ("failed", "released") == (ended.status, ended.books)
