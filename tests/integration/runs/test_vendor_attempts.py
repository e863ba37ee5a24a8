"""How often a vendor is asked by one node: counted by a server, through the real gate and Temporal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.attacks.graphs import published, text_of
from tests.contracts.vendors.wire_server import Answer, WireServer
from tests.contracts.vendors.words import PLAIN, AnthropicWords, OpenAIWords
from tests.integration.runs.waits import Handle, ended, row_of, waiting
from tests.stage import Stage
from vertebra.providers.registry import DEFAULT_MODELS
from vertebra.schemas.errors import FailureKind

pytestmark = pytest.mark.server

Words = AnthropicWords | OpenAIWords
AT_ONCE = {"retry-after-ms": "20"}
"""The vendor's own delay wins over the node's backoff, so these tests take no seconds."""
TIMES = 3


@pytest.fixture(params=["anthropic", "openai"])
def words(request: pytest.FixtureRequest) -> Words:
    return AnthropicWords() if request.param == "anthropic" else OpenAIWords()


@pytest.fixture
def server(model_server: WireServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[WireServer]:
    """The vendor, which has seen nothing yet; the worker has its keys."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-counted-anthropic")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-counted-openai")
    model_server.seen.clear()
    yield model_server
    model_server.first.clear()
    model_server.answer = Answer()


async def started(
    stage: Stage,
    name: str,
    words: Words,
    server: WireServer,
    *,
    model: str | None = None,
    path: str | None = None,
    **node: str,
) -> Handle:
    """A run whose only node asks this vendor."""
    endpoint = server.url + (words.path if path is None else path)
    limits = "".join(f", {key}: {value}" for key, value in node.items())
    named = model or DEFAULT_MODELS[words.name]
    text = text_of(name, f"  ask: {{agent: speaker, input: {{text: input.text}}, write: {{said: text}}{limits}}}\n")
    asked = f"{words.name}, model: {named}, endpoint: '{endpoint}'"
    graph = await published(stage, text.replace("scripted, model: small", asked))
    return await stage.start(graph, {"text": "x"})


def refusing(words: Words, kind: FailureKind) -> Answer:
    told = words.errors[kind]
    return Answer(told.status, words.error(told), AT_ONCE)


async def blocked_as(handle: Handle, stage: Stage) -> str:
    wait = await waiting(handle.id, stage, "blocked")
    kind: str = json.loads(bytes(wait["error"]))["type"]
    return kind


async def attempts(handle: Handle, stage: Stage) -> list[str]:
    rows = await stage.sql(
        "select a.state from attempts a join calls c on c.id = a.call where c.run = %(run)s order by a.n", run=handle.id
    )
    return [row["state"] for row in rows]


async def test_a_failing_vendor_is_asked_max_attempts_times(stage: Stage, words: Words, server: WireServer) -> None:
    """Three attempts are three requests: no client and no server in between repeats one, and nothing stays held."""
    server.answer = refusing(words, "server")

    handle = await started(stage, f"attempts-{words.name}", words, server, retry=f"{{max_attempts: {TIMES}}}")

    assert "ProviderServer" == await blocked_as(handle, stage)
    assert TIMES == len(server.seen)
    assert ["released"] * TIMES == await attempts(handle, stage)
    row = await row_of(handle.id, stage)
    assert (0, 0) == (row["spent_microusd"], row["held_microusd"])


async def test_a_rate_limit_uses_no_attempt_up(stage: Stage, words: Words, server: WireServer) -> None:
    """With one attempt allowed, four refusals for rate and overload are waited out as long as the vendor asks."""
    server.first = [refusing(words, kind) for kind in ("rate_limited", "overloaded", "rate_limited", "overloaded")]
    server.answer = Answer(body=words.reply("at last", (), "completed", PLAIN))

    handle = await started(stage, f"waits-{words.name}", words, server, retry="{max_attempts: 1}")

    await ended(handle, stage)
    assert 5 == len(server.seen)
    assert [*["released"] * 4, "settled"] == await attempts(handle, stage)
    assert 15 == (await row_of(handle.id, stage))["spent_tokens"]


@pytest.mark.parametrize("kind", ["bad_key", "no_credit", "context_too_long"])
async def test_what_would_stay_so_is_asked_once(
    stage: Stage, words: Words, server: WireServer, kind: FailureKind
) -> None:
    """A refusal that another attempt would meet again blocks the node after one request."""
    server.answer = refusing(words, kind)

    handle = await started(
        stage, f"once-{words.name}-{kind.replace('_', '-')}", words, server, retry="{max_attempts: 3}"
    )

    assert "Provider" + kind.title().replace("_", "") == await blocked_as(handle, stage)
    assert 1 == len(server.seen)


@pytest.mark.parametrize(
    ("answer", "name", "limit"),
    [
        (Answer(body=b'{"half'), "Malformed", "1m"),
        (Answer(body=b"{}" * 9, how="cut"), "Network", "1m"),
        (Answer(how="silent"), "Timeout", "1s"),
    ],
)
async def test_a_lost_reply_is_counted_and_stays_held(
    stage: Stage, words: Words, server: WireServer, answer: Answer, name: str, limit: str
) -> None:
    """Nobody knows what the vendor charges for a reply that did not come whole: each attempt's reservation stays."""
    server.answer = answer

    handle = await started(
        stage,
        f"lost-{words.name}-{name.lower()}",
        words,
        server,
        retry="{max_attempts: 2, backoff: 1s}",
        timeout=limit,
    )

    assert f"Provider{name}" == await blocked_as(handle, stage)
    assert 2 == len(server.seen)
    assert ["unknown"] * 2 == await attempts(handle, stage)
    assert (await row_of(handle.id, stage))["held_microusd"] > 0


async def test_a_server_of_ones_own_needs_no_key(
    stage: Stage, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local model is asked without a key at the price that the operator has set, and only there."""
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answer = Answer(body=OpenAIWords().reply("from here", (), "completed", PLAIN))

    handle = await started(stage, "of-my-own", OpenAIWords(), server, model="of-my-own", path="/keyless/v1")

    await ended(handle, stage)
    row = await row_of(handle.id, stage)
    assert (0, 15) == (row["spent_microusd"], row["spent_tokens"])
    assert ["/keyless/v1/chat/completions"] == [seen.path for seen in server.seen]
    assert "authorization" not in server.seen[0].headers
