"""What a model may say: poison, lies about its usage, and tools that it was never given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest

from tests.attacks.forging import told
from tests.attacks.graphs import published, text_of
from tests.attacks.vendor import Turned, Vendor, asks_for, says
from tests.integration.runs.waits import Handle, ended, row_of, waiting
from tests.stage import Stage
from vertebra.schemas.canonical import Json

pytestmark = [pytest.mark.attack, pytest.mark.server]

FINE = '{"kind": "other", "urgency": "low", "summary": "fine"}'
SORTER = "  sorter: {type: llm, model: {provider: scripted, model: small}, prompt: classify@1}\n"
DEEP = 50_000


def nodes_of(*names: str) -> str:
    return "".join(f"  {name}: {{agent: sorter, input: {{ticket: input.text}}}}\n" for name in names)


async def attempts(run: str, stage: Stage) -> int:
    [row] = await stage.sql("select count(*) as n from attempts where run = %(run)s", run=run)
    number: int = row["n"]
    return number


@pytest.fixture
async def alive(stage: Stage, vendor: Vendor) -> AsyncIterator[None]:
    """After the attack the worker still runs an honest run to its end."""
    yield
    vendor.turned["honest"] = says(FINE)
    graph = await published(stage, text_of("honest", nodes_of("honest"), agents=SORTER))
    await ended(await stage.start(graph, {"text": "x"}), stage)


async def one_by_one(
    stage: Stage, vendor: Vendor, name: str, replies: dict[str, Turned], text: str
) -> dict[str, Handle]:
    """One run of one node for each reply, all at once."""
    handles: dict[str, Handle] = {}
    for number, (reply, turned) in enumerate(replies.items()):
        node = f"{name}{number}"
        vendor.turned[node] = turned
        graph = await published(stage, text.replace("NODE", node).replace("GRAPH", f"{name}-{number}"))
        handles[reply] = await stage.start(graph, {"text": "x"})
    return handles


async def test_no_poisoned_reply_is_believed_bought_twice_or_stops_the_worker(
    stage: Stage, vendor: Vendor, alive: None
) -> None:
    """Replies that no strict reader takes fail their node as invalid; each was paid once, and the worker lives."""
    texts = {
        "no JSON": "sure!",
        "nothing": "",
        "NUL": '{"kind": "other", "urgency": "low", "summary": "a\\u0000b"}',
        "a raw NUL": "\0",
        "half a surrogate pair": '{"kind": "other", "urgency": "low", "summary": "\\ud800"}',
        "a raw half of a pair": FINE.replace("fine", "\ud800"),
        "NaN": '{"kind": "other", "urgency": "low", "summary": NaN}',
        "Infinity": "Infinity",
        "1e400": '{"kind": "other", "urgency": "low", "summary": 1e400}',
        "2^53": '{"kind": "other", "urgency": "low", "summary": 9007199254740993}',
        "a key twice": '{"kind": "other", "kind": "spam", "urgency": "low", "summary": "x"}',
        "50,000 levels": "[" * DEEP + "]" * DEEP,
        "3 MB": '{"kind": "other", "urgency": "low", "summary": "' + "x" * 3_000_000 + '"}',
        "a list": "[]",
        "a text": '"other"',
        "a wrong type": '{"kind": 7, "urgency": "low", "summary": "x"}',
        "a value that is none": '{"kind": "admin", "urgency": "low", "summary": "x"}',
        "a field too many": '{"kind": "other", "urgency": "low", "summary": "x", "approved": true}',
        "two answers": FINE + FINE,
    }
    text = text_of("GRAPH", nodes_of("NODE"), agents=SORTER)
    handles = await one_by_one(stage, vendor, "poison", {name: says(reply) for name, reply in texts.items()}, text)

    blocked = await asyncio.gather(*(waiting(handle.id, stage, "blocked") for handle in handles.values()))

    kinds = [json.loads(bytes(row["error"]))["type"] for row in blocked]
    assert ["OutputInvalid"] * len(texts) == kinds
    assert [1] * len(texts) == [len(stage.bought(handle.id)) for handle in handles.values()]
    rows = [await row_of(handle.id, stage) for handle in handles.values()]
    assert [0] * len(texts) == [row["held_microusd"] for row in rows]
    assert all(row["spent_microusd"] > 0 for row in rows)


async def test_no_poisoned_tool_call_is_made_bought_twice_or_stops_the_worker(
    stage: Stage, vendor: Vendor, alive: None
) -> None:
    """Tool calls with names, ids or arguments that nobody can write fail the node; each reply was paid once."""
    calls: dict[str, tuple[str, Json]] = {
        "half a surrogate pair for a name": ("\ud800", {}),
        "NUL for a name": ("search\0docs", {}),
        "half a pair in the arguments": ("search_docs", {"query": "\ud800"}),
        "half a pair in a key": ("search_docs", {"\udfff": "x"}),
        "NUL in the arguments": ("search_docs", {"query": "a\0b"}),
        "NaN": ("search_docs", {"query": float("nan")}),
        "infinity": ("search_docs", {"query": float("inf")}),
        "2^60": ("search_docs", {"query": 2**60}),
        "3 MB": ("search_docs", {"query": "x" * 3_000_000}),
        "3 MB for a name": ("x" * 3_000_000, {}),
        "100 levels": ("search_docs", json.loads("[" * 100 + "]" * 100)),
    }
    replies = {name: asks_for(call, then=FACTS) for name, call in calls.items()}
    replies["10,000 calls"] = asks_for(*[("x", {})] * 10_000, then=FACTS)
    replies["3 MB for a model"] = named(model="m" * 3_000_000)
    replies["3 MB for the id of a reply"] = named(request_id="i" * 3_000_000)
    replies["half a pair for an id"] = with_id("\ud800")
    replies["NUL for an id"] = with_id("c\0")
    replies["half a pair beside it"] = beside("\ud800")
    handles = await one_by_one(
        stage, vendor, "call", replies, text_of("GRAPH", AGENT_NODE, agents=agent_of(["search_docs"]), spine=WIDE)
    )

    blocked = await asyncio.gather(*(waiting(handle.id, stage, "blocked") for handle in handles.values()))

    assert ["OutputInvalid"] * len(replies) == [json.loads(bytes(row["error"]))["type"] for row in blocked]
    assert [1] * len(replies) == [len(stage.bought(handle.id)) for handle in handles.values()]
    assert [1] * len(replies) == [await attempts(handle.id, stage) for handle in handles.values()]


async def test_no_usage_is_believed_to_be_free(stage: Stage, vendor: Vendor) -> None:
    """A vendor that reports no, negative or absurd usage is booked at something, and never gives money back."""
    usages = {
        "nothing": (0, 0),
        "no input": (0, 9),
        "no output": (9, 0),
        "negative": (-(10**6), -(10**6)),
        "half": (-5, 9),
        "huge": (10**8, 10**8),
        "more than a bigint": (2**70, 2**70),
    }
    replies = {name: says(FINE, input_tokens=told[0], output_tokens=told[1]) for name, told in usages.items()}
    handles = await one_by_one(stage, vendor, "usage", replies, text_of("GRAPH", nodes_of("NODE"), agents=SORTER))

    for _ in range(1200):
        rows = await stage.sql(
            "select * from runs where id = any(%(ids)s) order by id", ids=[h.id for h in handles.values()]
        )
        if len(usages) == sum(row["spent_microusd"] > 0 for row in rows):
            break
        await asyncio.sleep(0.05)

    spent = {row["id"]: row["spent_microusd"] for row in rows}
    assert list(usages) == [name for name, handle in handles.items() if spent.get(handle.id, 0) > 0]
    assert [0] * len(usages) == [row["held_microusd"] + row["held_tokens"] for row in rows]
    assert [1] * len(usages) == [len(stage.bought(handle.id)) for handle in handles.values()]


TOOLS = ("search_docs", "send_email", "python")
ARGUMENTS: dict[str, Json] = {
    "search_docs": {"query": "refund"},
    "send_email": {"to": "mallory@example.org", "subject": "x", "text": "y"},
    "python": {"code": "print(1)"},
    "shell": {"command": "id"},
    "admit": {},
    "send_email ": {"to": "mallory@example.org", "subject": "x", "text": "y"},
    "SEND_EMAIL": {"to": "mallory@example.org", "subject": "x", "text": "y"},
    "send_email\n": {"to": "mallory@example.org", "subject": "x", "text": "y"},
    "\u0455end_email": {"to": "mallory@example.org", "subject": "x", "text": "y"},
    "": {},
    "x" * 10_000: {},
}
GRANTS: tuple[tuple[str, ...], ...] = ((), ("search_docs",), ("python",), ("search_docs", "python"))
FACTS = '{"facts": ["none"], "confidence": 0.9}'
WIDE = "expires_in: 1h, permissions: [execute_tools], tools: [search_docs, send_email, python]"
AGENT_NODE = "  NODE: {agent: finder, input: {ticket: input.text, kind: {value: other}}}\n"


def agent_of(tools: tuple[str, ...] | list[str]) -> str:
    model = "model: {provider: scripted, model: small}, prompt: research@1"
    return f"  finder: {{type: agent, {model}, tools: [{', '.join(tools)}], max_turns: 3}}\n"


def named(**names: str) -> Turned:
    """An answer under these names of model or reply."""
    return lambda request, place: says(FACTS)(request, place).model_copy(update=names)


def with_id(call_id: str) -> Turned:
    ask = asks_for(("search_docs", {"query": "x"}), then=FACTS)

    def reply(request: object, place: object) -> object:
        made = ask(request, place)  # type: ignore[arg-type]  # passed on
        calls = tuple(call.model_copy(update={"id": call_id}) for call in made.tool_calls)
        return made.model_copy(update={"tool_calls": calls})

    return reply  # type: ignore[return-value]  # the same signature


def beside(content: str) -> Turned:
    ask = asks_for(("search_docs", {"query": "x"}), then=FACTS)

    def reply(request: object, place: object) -> object:
        return ask(request, place).model_copy(update={"content": content})  # type: ignore[arg-type]  # passed on

    return reply  # type: ignore[return-value]  # the same signature


def mails(maildir: Path) -> int:
    return sum(path.is_file() for path in maildir.rglob("*"))


async def test_no_model_calls_a_tool_beyond_its_grant(stage: Stage, vendor: Vendor) -> None:
    """Every tool asked for under every grant that lacks it: no effect, a denial on record, and the run completes."""
    tried = [(grant, tool) for grant, tool in product(GRANTS, ARGUMENTS) if tool not in grant]
    assert 30 <= len(tried)
    before = mails(stage.world.maildir)
    handles: list[Handle] = []
    for number, grant in enumerate(GRANTS):
        beyond = [(tool, arguments) for tool, arguments in ARGUMENTS.items() if tool not in grant]
        vendor.turned[f"grant{number}"] = asks_for(*beyond, then=FACTS)
        text = text_of(
            f"grant-{number}", AGENT_NODE.replace("NODE", f"grant{number}"), agents=agent_of(grant), spine=WIDE
        )
        handles.append(await stage.start(await published(stage, text), {"text": "x"}))

    for handle in handles:
        await ended(handle, stage)

    denied = [entry for handle in handles for entry in await told(handle.id, "tool_execution", stage)]
    assert len(tried) == len(denied)
    assert {("event", "denied")} == {(entry["phase"], entry["outcome"]) for entry in denied}
    assert before == mails(stage.world.maildir)
    assert len(GRANTS) * 2 == sum(len(stage.bought(handle.id)) for handle in handles)


async def test_no_bad_arguments_reach_a_tool(stage: Stage, vendor: Vendor) -> None:
    """Arguments that break a granted tool's schema are an answer that the model reads; the tool does not run.

    What is no object at all is answered without a call, so only the objects, and null which stands for an empty one,
    reach the gate and its record.
    """
    bad: list[Json] = [
        {}, {"query": 7}, {"query": ""}, {"query": "x", "limit": -1}, {"query": "x", "root": "/etc"}, [], "x", None, 7,
        {"query": ["x"]}, {"query": "x" * 200_000}, {"query": None}, {"Query": "x"}, {"query": {"$ref": "file:///etc/passwd"}},
    ]  # fmt: skip
    vendor.turned["bad"] = asks_for(*(("search_docs", arguments) for arguments in bad), then=FACTS)
    text = text_of("bad-arguments", AGENT_NODE.replace("NODE", "bad"), agents=agent_of(["search_docs"]), spine=WIDE)

    handle = await stage.start(await published(stage, text), {"text": "x"})
    await ended(handle, stage)

    entries = await told(handle.id, "tool_execution", stage)
    assert len([one for one in bad if one is None or isinstance(one, dict)]) == len(entries)
    assert [] == [entry for entry in entries if entry["success"]]
    assert {"denied"} == {entry["outcome"] for entry in entries}
