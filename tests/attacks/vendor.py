"""A model vendor in the hands of an attacker: at chosen nodes it says what no reply file could."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vertebra.providers.protocol import Place, Provider
from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.llm import ModelReply, ModelRequest, ModelUsage

Turned = Callable[[ModelRequest, Place], ModelReply]


class Vendor:
    """Passes for the scripted vendor. Every sale is written where the honest one writes its own."""

    name = "scripted"

    def __init__(self) -> None:
        self.turned: dict[str, Turned] = {}
        self._honest: Provider | None = None
        self._sales = Path()

    def serve(self, honest: Provider, sales: Path) -> None:
        """Answer like this one where nothing was turned."""
        self._honest, self._sales = honest, sales

    def secret(self, endpoint: str | None) -> str | None:
        return None

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        """The turned reply of the node, else the honest one."""
        if place.node not in self.turned:
            assert self._honest is not None
            return await self._honest.complete(request, place, timeout_s=timeout_s, key=key)
        sale = {"run": place.run, "node": place.node, "visit": place.visit, "turn": place.turn}
        with self._sales.open("a", encoding="utf-8") as file:
            file.write(json_text(sale) + "\n")
        return self.turned[place.node](request, place)

    async def aclose(self) -> None:
        """Nothing is held open."""


def says(content: str, *, input_tokens: int = 100, output_tokens: int = 10) -> Turned:
    """A finished reply of this text and usage, whatever was asked; nothing of it is checked on the way."""
    told = json_text({"input": input_tokens, "output": output_tokens})
    usage = ModelUsage.model_construct(
        input=input_tokens, output=output_tokens, cache_read=0, cache_write=0, reasoning=0, raw_json=told
    )

    def reply(request: ModelRequest, place: Place) -> ModelReply:
        return ModelReply.model_construct(
            content=content,
            tool_calls=(),
            usage=usage,
            finish_reason="completed",
            provider=request.provider,
            model=request.model,
            request_id=None,
        )

    return reply


def asks_for(*wanted: tuple[str, Json], then: str) -> Turned:
    """A model that calls these tools in its first turn, and says `then` whatever they answer."""

    def reply(request: ModelRequest, place: Place) -> ModelReply:
        if place.turn > 1:
            return says(then)(request, place)
        calls = tuple(
            ToolCall.model_construct(id=f"c{number}", tool=tool, arguments=arguments)
            for number, (tool, arguments) in enumerate(wanted, 1)
        )
        return says("")(request, place).model_copy(update={"tool_calls": calls, "finish_reason": "tool_calls"})

    return reply
