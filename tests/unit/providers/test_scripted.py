"""The scripted vendor: which entry answers, what it costs, how it fails, and what it writes down."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from vertebra.providers.protocol import Place
from vertebra.providers.scripted import ScriptedProvider
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import Complaints, ProviderFailure
from vertebra.schemas.llm import ModelReply, ModelRequest, ToolMessage, UserMessage


def request(text: str = "I want a refund", answer: str | None = None) -> ModelRequest:
    messages = (UserMessage(text=text), *([] if answer is None else [ToolMessage(tool_call="c", text=answer)]))
    return ModelRequest(provider="scripted", model="small", system="refund policy", messages=messages)


def place(visit: int = 1, turn: int = 1, attempt: int = 1) -> Place:
    return Place(run="r-1", node="classify", visit=visit, turn=turn, call_id="CALL", attempt=attempt)


async def ask(
    entries: Json, at: Place | None = None, text: str = "I want a refund", *, timeout_s: float = 5
) -> ModelReply:
    provider = ScriptedProvider({"classify": entries})
    return await provider.complete(request(text), at or place(), timeout_s=timeout_s, key=None)


async def test_first_entry_that_fits_answers() -> None:
    """Entries are tried in file order; the first whose match, visit and turn fit wins."""
    entries: Json = [
        {"match": "lottery", "reply": "spam"},
        {"match": "(?i)REFUND", "reply": "billing"},
        {"reply": "other"},
    ]

    assert "billing" == (await ask(entries)).content
    assert "spam" == (await ask(entries, text="lottery refund")).content
    assert "other" == (await ask(entries, text="hello")).content


async def test_system_text_is_not_searched() -> None:
    """A pattern is not satisfied by the system text, which every request of the node shares."""
    assert "plain" == (await ask([{"match": "policy", "reply": "no"}, {"reply": "plain"}])).content


async def test_tool_answers_are_searched() -> None:
    """What a tool said decides the next reply."""
    provider = ScriptedProvider({"classify": [{"match": "42", "reply": "found"}, {"reply": "lost"}]})

    reply = await provider.complete(request(answer="it is 42"), place(turn=2), timeout_s=5, key=None)

    assert "found" == reply.content


async def test_visit_and_turn_choose() -> None:
    """An entry for a visit or turn fits there only."""
    entries: Json = [{"visit": 2, "turn": 2, "reply": "late"}, {"visit": 2, "reply": "second"}, {"reply": "first"}]

    assert "first" == (await ask(entries, place(1, 2))).content
    assert "second" == (await ask(entries, place(2, 1))).content
    assert "late" == (await ask(entries, place(2, 2))).content


async def test_same_question_same_answer() -> None:
    """Asking twice gives equal replies: nothing is counted between calls."""
    provider = ScriptedProvider({"classify": [{"tool_calls": [{"tool": "search_docs", "args": {"query": "x"}}]}]})

    first = await provider.complete(request(), place(), timeout_s=5, key=None)
    second = await provider.complete(request(), place(), timeout_s=5, key=None)

    assert first == second
    assert "tool_calls" == first.finish_reason
    assert ["call_1_1_1"] == [call.id for call in first.tool_calls]


async def test_a_mapping_is_sent_as_its_json_text() -> None:
    """A structured reply reaches the parser as JSON text; a text stays as it is, however broken."""
    assert {"kind": "spam", "score": 0.5} == json.loads(
        (await ask([{"reply": {"kind": "spam", "score": 0.5}}])).content
    )
    assert '{"score": NaN' == (await ask([{"reply": '{"score": NaN'}])).content


async def test_tokens_are_bytes_by_four() -> None:
    """Unless the reply says, tokens are the UTF-8 bytes by four, rounded up."""
    counted = (await ask([{"reply": "größer"}])).usage
    stated = (await ask([{"reply": "x", "usage": {"input": 812, "output": 44, "cache_read": 7}}])).usage

    assert math.ceil(len(request().canonical) / 4) == counted.input
    assert 2 == counted.output
    assert (812, 44, 7, 863) == (stated.input, stated.output, stated.cache_read, stated.tokens)
    assert {"input": 812, "output": 44, "cache_read": 7, "cache_write": 0} == json.loads(stated.raw_json)


async def test_failure_ends_after_its_attempts() -> None:
    """`fail` holds for `times` attempts of the call, by the attempt's number; then the entry answers."""
    entries: Json = [{"fail": {"kind": "rate_limited", "retry_after": "1s", "times": 2}, "reply": "ok"}]

    for attempt in (1, 2):
        with pytest.raises(ProviderFailure) as caught:
            await ask(entries, place(attempt=attempt))
        assert ("rate_limited", 1.0, True, False) == (
            caught.value.kind,
            caught.value.retry_after_s,
            caught.value.retryable,
            caught.value.counts,
        )
    assert "ok" == (await ask(entries, place(attempt=3))).content


async def test_failure_without_a_reply_gives_way() -> None:
    """An entry that only fails lets the next one answer once its attempts are over."""
    entries: Json = [{"fail": {"kind": "server", "times": 1}}, {"reply": "later"}]

    with pytest.raises(ProviderFailure):
        await ask(entries)
    assert "later" == (await ask(entries, place(attempt=2))).content


async def test_missing_reply_names_node_and_file() -> None:
    """No entry that fits is a bad request that says where to add one."""
    with pytest.raises(
        ProviderFailure, match=r"node 'classify', visit 3, turn 1; add an entry to replies/classify\.yaml"
    ):
        await ask([{"visit": 1, "reply": "x"}], place(3))


async def test_slow_reply_times_out() -> None:
    """A delay beyond the time limit ends as a timeout at the limit."""
    with pytest.raises(ProviderFailure) as caught:
        await ask([{"reply": "x", "delay": "60s"}], timeout_s=0.05)

    assert "timeout" == caught.value.kind


async def test_each_sale_is_one_line(tmp_path: Path) -> None:
    """Every reply sold is appended with run, place, digest and attempt; a failure sells nothing."""
    sales = tmp_path / "sales.jsonl"
    provider = ScriptedProvider({"classify": [{"fail": {"kind": "server", "times": 1}, "reply": "x"}]}, sales)

    with pytest.raises(ProviderFailure):
        await provider.complete(request(), place(), timeout_s=5, key=None)
    await provider.complete(request(), place(attempt=2), timeout_s=5, key=None)

    assert [
        {
            "run": "r-1",
            "node": "classify",
            "visit": 1,
            "turn": 1,
            "call_id": "CALL",
            "digest": request().digest,
            "attempt": 2,
        }
    ] == [json.loads(line) for line in sales.read_text().splitlines()]


@pytest.mark.parametrize(
    "entry",
    [
        {"reply": "a\x00b"},
        {"reply": "a\ud800b"},
        {"tool_calls": [{"tool": "t", "args": {"x": "\udfff"}}]},
        {"tool_calls": [{"tool": "t", "args": {"\x00": 1}}]},
    ],
)
async def test_text_that_cannot_be_stored_is_malformed(entry: Json) -> None:
    """NUL and lone surrogates in a reply are a malformed reply, named, before anything is stored."""
    with pytest.raises(ProviderFailure) as caught:
        await ask([entry])

    assert "malformed" == caught.value.kind


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"reply": "x"}, "a list of entries"),
        ([{"reply": "x"}, {"repyl": "x"}], r"entry 2 has no key 'repyl'"),
        ([{"match": "(", "reply": "x"}], "no regular expression"),
        ([{"delay": "soon", "reply": "x"}], "no duration"),
        ([{"visit": 0, "reply": "x"}], "visit"),
        ([{"fail": {"kind": "sulking"}}], "fail.kind"),
        (["x"], "entry 1"),
    ],
)
def test_wrong_file_is_refused(value: Json, says: str) -> None:
    """A wrong reply file is refused when it is read, naming file, entry and field."""
    with pytest.raises(Complaints, match=says) as caught:
        ScriptedProvider({"classify": value})

    assert str(caught.value).startswith("replies/classify.yaml")


async def test_a_reply_is_cheap() -> None:
    """Without delay a reply costs far less than the gate around it (measured 60 us with its sale; slack for CI)."""
    provider = ScriptedProvider({"classify": [{"match": "refund", "reply": {"kind": "billing"}}]})
    asked, where = request(), place()
    await provider.complete(asked, where, timeout_s=5, key=None)

    began = time.process_time()
    for _ in range(200):
        await provider.complete(asked, where, timeout_s=5, key=None)

    assert (time.process_time() - began) / 200 < 0.001
