"""What every vendor's adapter promises, a case each, and the table of which vendor was tried at what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pytest

from tests.contracts.vendors.rigs import PATIENCE_S, Rig, complete, failing
from tests.contracts.vendors.words import KEY
from vertebra.providers.errors import MEANINGS, UNFINISHED, unfinished
from vertebra.schemas.call import ToolCall
from vertebra.schemas.errors import FailureKind, ProviderFailure
from vertebra.schemas.llm import FinishReason

OURS, IMITATED = "our server", "aimock"
RIGS = ("scripted", f"anthropic, {OURS}", f"anthropic, {IMITATED}", f"openai, {OURS}", f"openai, {IMITATED}")
IMITATIONS = frozenset(rig for rig in RIGS if rig.endswith(IMITATED))


@dataclass(frozen=True)
class Case:
    """One promise."""

    name: str
    prove: Callable[[Rig], Awaitable[None]]
    lacks: frozenset[str] = frozenset()
    """Where it cannot be tried: the server has no such answer."""


async def _reply(rig: Rig) -> None:
    rig.says("Good day", usage={"input": 812, "output": 44})

    reply = await complete(rig)

    assert ("Good day", "completed", ()) == (reply.content, reply.finish_reason, reply.tool_calls)
    assert (812, 44, 856) == (reply.usage.prompt, reply.usage.output, reply.usage.tokens)
    assert rig.request.provider == reply.provider
    assert reply.model
    assert reply.request_id


async def _structured(rig: Rig) -> None:
    rig.says('{"kind":"spam"}')
    schema = {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}
    request = rig.request.model_copy(
        update={"output_schema_json": json.dumps({**schema, "additionalProperties": False})}
    )

    assert {"kind": "spam"} == json.loads((await complete(rig, request)).content)
    assert rig.sold() in (None, 1)


async def _cached(rig: Rig) -> None:
    rig.says("x", usage={"input": 10, "cache_read": 200, "output": 5})

    usage = (await complete(rig)).usage

    assert (10, 200, 0, 5) == (usage.input, usage.cache_read, usage.cache_write, usage.output)
    assert 215 == usage.tokens
    assert "200" in usage.raw_json


async def _tools(rig: Rig) -> None:
    asked = (
        ToolCall(id="c1", tool="search_docs", arguments={"query": "größe", "k": 5}),
        ToolCall(id="c2", tool="python", arguments={"code": "print(1.5)"}),
    )
    rig.asks(*asked)

    reply = await complete(rig)

    assert "tool_calls" == reply.finish_reason
    assert asked == reply.tool_calls


async def _stops(rig: Rig, stop: FinishReason) -> None:
    rig.says("half a", stop)

    reply = await complete(rig)
    failure = unfinished(reply)

    assert stop == reply.finish_reason
    assert failure is not None
    assert (UNFINISHED[stop], False) == (failure.kind, failure.retryable)
    assert reply.usage.usable


async def _fails(rig: Rig, kind: FailureKind) -> None:
    rig.fails(kind)

    error = await failing(rig, timeout_s=0.5 if kind == "timeout" else PATIENCE_S)

    _has_meaning(error, kind)
    assert f"{rig.request.provider}/large" == error.at
    assert KEY not in str(error)
    sold = rig.sold()  # the imitation keeps no request that it was not let answer
    assert sold is None or sold <= 1


def _has_meaning(error: ProviderFailure, kind: FailureKind) -> None:
    meaning = MEANINGS[kind]
    assert (kind, meaning.retryable, meaning.counts) == (error.kind, error.retryable, error.counts)
    assert error.do


async def _delay(rig: Rig) -> None:
    rig.fails("rate_limited", retry_after_s=7)
    assert 7 == (await failing(rig)).retry_after_s

    rig.fails("rate_limited", retry_after_s=86_400)
    assert 600 == (await failing(rig)).retry_after_s


async def _quoted_key(rig: Rig) -> None:
    rig.says(f"your key is {KEY}, is it not")

    try:
        said = (await complete(rig)).model_dump_json()
    except ProviderFailure as error:
        said = str(error)

    assert KEY not in said


async def _unstorable(rig: Rig) -> None:
    for text in ("a\x00b", "a\ud800b"):
        rig.says(text)

        assert "malformed" == (await failing(rig)).kind


async def _once(rig: Rig) -> None:
    rig.says("x")

    await asyncio.gather(*(complete(rig) for _ in range(5)))

    assert rig.sold() in (None, 5)


async def _cancelled(rig: Rig) -> None:
    rig.fails("timeout")
    call = asyncio.create_task(complete(rig))
    await asyncio.sleep(0.2)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


def _failing(kind: FailureKind, name: str) -> Case:
    return Case(name, partial(_fails, kind=kind))


CASES: tuple[Case, ...] = (
    Case("reply: text, usage, model, request id", _reply),
    Case("structured output", _structured),
    Case("usage: cached input apart", _cached, IMITATIONS),
    Case("tool calls in parallel", _tools),
    Case("stop: output cap", partial(_stops, stop="length")),
    Case("stop: refusal", partial(_stops, stop="refused"), IMITATIONS),
    Case(
        "stop: content filter",
        partial(_stops, stop="content_filter"),
        frozenset(rig for rig in RIGS if rig.startswith("anthropic")),
    ),
    _failing("rate_limited", "429: waited out, no attempt counted"),
    Case("429: retry-after obeyed, up to 10 minutes", _delay),
    _failing("overloaded", "overload: waited out, no attempt counted"),
    _failing("server", "5xx: tried again, counted"),
    _failing("timeout", "no answer in time: tried again, counted"),
    _failing("network", "connection cut: tried again, counted"),
    _failing("malformed", "malformed body: tried again, counted"),
    Case(
        "NUL or lone surrogate in a text: malformed",
        _unstorable,
        frozenset({f"anthropic, {IMITATED}", f"openai, {IMITATED}"}),
    ),
    _failing("bad_key", "key refused: not tried again"),
    _failing("no_credit", "no credit: not tried again"),
    _failing("bad_request", "request refused: not tried again"),
    _failing("context_too_long", "context too long: not tried again"),
    _failing("content_filter", "content filter as an error: not tried again"),
    Case("one request a call, five at once", _once),
    Case("cancelled at once", _cancelled),
    Case("a key that is said back is in no reply", _quoted_key, frozenset({"scripted"})),
)


def pairs() -> list[tuple[str, Case]]:
    """Every case at every vendor that has it."""
    return [(rig, case) for case in CASES for rig in RIGS if rig not in case.lacks]


def table(passed: Iterable[tuple[str, str]]) -> str:
    """Vendors x cases, as Markdown."""
    found = set(passed)
    lines = [f"| case | {' | '.join(RIGS)} |", f"|---|{'---|' * len(RIGS)}"]
    for case in CASES:
        cells = ["passed" if (rig, case.name) in found else "-" for rig in RIGS]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
