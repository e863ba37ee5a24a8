"""Attempts that vanish at a chosen stage, as if their worker had died there: nothing after that stage is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pydantic import JsonValue
from temporalio import activity, client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from vertebra.providers.protocol import Place, Provider
from vertebra.providers.registry import Providers
from vertebra.schemas.llm import ModelReply, ModelRequest
from vertebra.tools.context import ToolContext
from vertebra.tools.contract import Tool
from vertebra.tools.registry import Registry

Stage = Literal["before the call", "after the call", "after the outcome"]


class Vanished(Exception):
    """The worker died here."""


@dataclass
class Losses:
    """Which run loses its first attempt of which activity type at which stage."""

    planned: dict[str, tuple[str, Stage]] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def pass_by(self, stage: Stage) -> None:
        """Called at every stage of every attempt. Raises Vanished, once a run."""
        info = activity.info()
        run = info.workflow_id or ""
        if run not in self.made and self.planned.get(run) == (info.activity_id.partition("#")[0], stage):
            self.made.add(run)
            raise Vanished(stage)


@dataclass(frozen=True, eq=False)
class LosingTool(Tool):
    """A tool whose worker may die before or after it ran."""

    losses: Losses = field(default_factory=Losses, repr=False)

    async def call(self, arguments: JsonValue, context: ToolContext) -> JsonValue:
        self.losses.pass_by("before the call")
        answer = await super().call(arguments, context)
        self.losses.pass_by("after the call")
        return answer


@dataclass
class LosingProvider:
    """A vendor whose caller may die before or after it sold."""

    inner: Provider
    losses: Losses

    @property
    def name(self) -> str:
        return self.inner.name

    def secret(self, endpoint: str | None) -> str | None:
        return self.inner.secret(endpoint)

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        self.losses.pass_by("before the call")
        reply = await self.inner.complete(request, place, timeout_s=timeout_s, key=key)
        self.losses.pass_by("after the call")
        return reply

    async def aclose(self) -> None:
        await self.inner.aclose()


class LosingAnswers(client.Interceptor, Interceptor):
    """Put around the gate: the outcome is journalled, and Temporal never hears of it.

    As a client's interceptor it comes before, so around, those that the worker is given.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self._losses)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, losses: Losses) -> None:
        super().__init__(next)
        self._losses = losses

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        result = await self.next.execute_activity(input)
        self._losses.pass_by("after the outcome")
        return result


def losing_registry(tools: Iterable[Tool], losses: Losses) -> Registry:
    """The same tools, which may lose their worker."""
    found = [
        LosingTool(**{part.name: getattr(tool, part.name) for part in fields(tool)}, losses=losses) for tool in tools
    ]
    return Registry(found, trusted=[tool.name for tool in found])


def losing_providers(providers: Providers, losses: Losses) -> Providers:
    """The scripted vendor, whose callers may die."""
    return Providers([LosingProvider(providers.get("scripted"), losses)])
