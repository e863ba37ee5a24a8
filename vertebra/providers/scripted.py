"""A vendor that costs nothing and always says the same: replies come from a project's files.

The choice depends on the request, the visit and the turn only, never on a counter, so a replayed, resumed or repeated
call gets the same answer. Each sale is written to a file, so that tests can count what was bought.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, JsonValue, ValidationError, WithJsonSchema

from vertebra.policies.fields import nearest
from vertebra.providers.errors import failure
from vertebra.providers.protocol import Place
from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.errors import BadJson, FailureKind
from vertebra.schemas.llm import FinishReason, ModelReply, ModelRequest, ModelUsage
from vertebra.schemas.places import ComplaintList, Places, Unplaced
from vertebra.schemas.record import Authored
from vertebra.schemas.strict_json import check_value

NAME = "scripted"
_SEARCHED = 100_000
"""Characters that a `match` looks at: the pattern is the author's own, its cost is bounded all the same."""
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _seconds(value: object) -> object:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no duration; write 50ms, 2s or 1m")
    return float(found[1]) * _UNITS[found[2]]


def _pattern(value: object) -> object:
    try:
        return re.compile(value) if isinstance(value, str) else value
    except re.error as problem:
        raise ValueError(f"{value!r} is no regular expression: {problem}") from None


Seconds = Annotated[
    float, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"})
]


class AskedTool(Authored):
    """A tool that the scripted model asks for."""

    tool: str
    args: JsonValue = {}
    id: str | None = None


class Tokens(Authored):
    """Usage that the reply states itself; what it leaves out is counted."""

    input: int | None = Field(default=None, ge=0)
    cache_read: int = Field(default=0, ge=0)
    cache_write: int = Field(default=0, ge=0)
    output: int | None = Field(default=None, ge=0)


class Fail(Authored):
    """How the vendor fails instead; `times` attempts of a call, without it always."""

    kind: FailureKind
    retry_after: Seconds | None = None
    times: int | None = Field(default=None, ge=1)

    def holds(self, attempt: int) -> bool:
        return self.times is None or attempt <= self.times


class Entry(Authored):
    """One line of `replies/<node>.yaml`. The first entry that fits answers."""

    match: Annotated[re.Pattern[str] | None, BeforeValidator(_pattern)] = None
    """Searched in what was said so far, tool answers included."""
    visit: int | None = Field(default=None, ge=1)
    turn: int | None = Field(default=None, ge=1)
    reply: JsonValue = None
    """A text as it is; anything else as its JSON text."""
    tool_calls: Annotated[tuple[AskedTool, ...], Field(strict=False)] = ()
    delay: Seconds = 0.0
    usage: Tokens = Tokens()
    finish_reason: FinishReason | None = None
    fail: Fail | None = None

    def fits(self, request: ModelRequest, place: Place) -> bool:
        if self.visit not in (None, place.visit) or self.turn not in (None, place.turn):
            return False
        if self.reply is None and not self.tool_calls and not (self.fail and self.fail.holds(place.attempt)):
            return False
        return self.match is None or self.match.search(request.text, 0, _SEARCHED) is not None

    @cached_property
    def content(self) -> str:
        if self.reply is None:
            return ""
        return self.reply if isinstance(self.reply, str) else json_text(self.reply)

    @cached_property
    def output_tokens(self) -> int:
        asked = sum(len(call.tool) + len(_escaped(call.args)) for call in self.tool_calls)
        return (
            self.usage.output if self.usage.output is not None else math.ceil((len(_escaped(self.content)) + asked) / 4)
        )


def _escaped(value: Json) -> bytes:
    """Bytes to count: a text as UTF-8, anything else as JSON; what has no UTF-8 form is counted escaped."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="backslashreplace")


class ScriptedProvider:
    """Answers from parsed reply files, node by node."""

    name = NAME

    def __init__(
        self,
        replies: Mapping[str, Json],
        sales: Path | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`replies`: node to the value of its file; `sales`: where each sold reply is appended as a line of JSON;
        `sleep`: how a `delay` passes.

        Raises Complaints, naming file and entry.
        """
        self._entries = {node: parse_entries(node, value) for node, value in replies.items()}
        self._sales = sales
        self._sleep = sleep

    def secret(self, endpoint: str | None) -> str | None:
        """It needs none."""
        return None

    async def complete(self, request: ModelRequest, place: Place, *, timeout_s: float, key: str | None) -> ModelReply:
        """Answer with the first entry that fits. Raises ProviderFailure as the entry says, or if none fits."""
        at = f"{request.provider}/{request.model}"
        entry = self._choose(request, place, at)
        if entry.delay:
            await self._sleep(min(entry.delay, timeout_s))
        if entry.delay > timeout_s:
            raise failure("timeout", at, f"no reply within {timeout_s:g} s")
        if entry.fail is not None and entry.fail.holds(place.attempt):
            raise failure(entry.fail.kind, at, "as its reply file says", entry.fail.retry_after)
        self._sell(request, place)
        return _reply(entry, request, place, at)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _choose(self, request: ModelRequest, place: Place, at: str) -> Entry:
        for entry in self._entries.get(place.node, ()):
            if entry.fits(request, place):
                return entry
        where = f"node {place.node!r}, visit {place.visit}, turn {place.turn}"
        raise failure("bad_request", at, f"no scripted reply for {where}", do=f"add an entry to {file_of(place.node)}")

    def _sell(self, request: ModelRequest, place: Place) -> None:
        if self._sales is None:
            return
        sale: dict[str, Json] = {
            "run": place.run,
            "node": place.node,
            "visit": place.visit,
            "turn": place.turn,
            "call_id": place.call_id,
            "digest": request.digest,
            "attempt": place.attempt,
        }
        # one write to a descriptor opened for appending: lines of several workers do not mix
        descriptor = os.open(self._sales, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json_text(sale).encode() + b"\n")
        finally:
            os.close(descriptor)


def file_of(node: str) -> str:
    """Where a node's scripted replies stand in a project."""
    return f"replies/{node.rpartition('/')[2]}.yaml"


def parse_entries(node: str, value: Json, places: Places | None = None) -> tuple[Entry, ...]:
    """The entries of one reply file. Raises Complaints with every mistake at its place."""
    complain = ComplaintList(places or Unplaced(file_of(node)))
    if not isinstance(value, list):
        complain((), "a reply file is a list of entries", "begin each entry with '- {'")
    entries = [_entry(index, item, complain) for index, item in enumerate(value if isinstance(value, list) else [])]
    complain.raise_any()
    return tuple(entry for entry in entries if entry is not None)


def _entry(index: int, item: Json, complain: ComplaintList) -> Entry | None:
    try:
        return Entry.model_validate(item)
    except ValidationError as problem:
        for error in problem.errors(include_url=False, include_input=False):
            where, place = (index, *error["loc"]), ".".join(map(str, error["loc"]))
            if error["type"] == "extra_forbidden":
                do = nearest(place, Entry.model_fields) if len(error["loc"]) == 1 else None
                complain(where, f"entry {index + 1} has no key {place!r}", do)
            else:
                complain(where, f"entry {index + 1}: {place + ': ' if place else ''}{error['msg']}")
        return None


def _reply(entry: Entry, request: ModelRequest, place: Place, at: str) -> ModelReply:
    try:
        check_value({"content": entry.content, "tool_calls": [call.args for call in entry.tool_calls]}, at="reply")
    except BadJson as problem:
        raise failure("malformed", at, str(problem)) from None
    calls = tuple(
        ToolCall(id=call.id or f"call_{place.visit}_{place.turn}_{index}", tool=call.tool, arguments=call.args)
        for index, call in enumerate(entry.tool_calls, 1)
    )
    return ModelReply(
        content=entry.content,
        tool_calls=calls,
        usage=_usage(entry, request),
        finish_reason=entry.finish_reason or ("tool_calls" if calls else "completed"),
        provider=request.provider,
        model=request.model,
        request_id=f"scripted-{place.call_id}-{place.attempt}",
    )


def _usage(entry: Entry, request: ModelRequest) -> ModelUsage:
    stated = entry.usage
    counted: dict[str, int] = {
        "input": stated.input if stated.input is not None else math.ceil(len(request.canonical) / 4),
        "cache_read": stated.cache_read,
        "cache_write": stated.cache_write,
        "output": entry.output_tokens,
    }
    return ModelUsage(**counted, raw_json=json_text(counted))
