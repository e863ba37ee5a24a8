"""What the live demo decides before it asks anybody: which model, with which key, at what cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.cli.demo.live import TICKETS, choose, estimate, turn
from vertebra.cli.demo.screen import Screen
from vertebra.cli.demo.start import make
from vertebra.compiler import read_project
from vertebra.providers.registry import DEFAULT_MODELS
from vertebra.schemas.errors import SettingsError, Unpriced
from vertebra.settings import load
from vertebra.workers.compiling import compile_file

KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
LOCAL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("vendor", sorted(DEFAULT_MODELS))
def test_the_key_that_is_there_chooses_the_model(vendor: str) -> None:
    """One key is enough: its vendor's default model is asked, by the name of the key, which is not shown."""
    live = choose({KEYS[vendor]: "sk-canary"}, None, None)

    assert (vendor, DEFAULT_MODELS[vendor], None) == (live.provider, live.model, live.endpoint)
    assert f"secret://env/{KEYS[vendor]}" == live.secret
    assert "sk-canary" not in repr(live)
    assert KEYS[vendor] in live.place


@pytest.mark.parametrize(
    ("environ", "model", "endpoint", "said"),
    [
        ({}, None, None, "no key for one is set; set ANTHROPIC_API_KEY or OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": ""}, None, None, "no key for one is set"),
        ({"ANTHROPIC_API_KEY": "k"}, f"openai/{DEFAULT_MODELS['openai']}", None, "set OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "k"}, "gpt", None, "names no model of a real vendor"),
        ({"OPENAI_API_KEY": "k"}, "scripted/small", None, "names no model of a real vendor"),
        ({"OPENAI_API_KEY": "k"}, None, "http://me:hunter2@host", "no plain http"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    environ: dict[str, str], model: str | None, endpoint: str | None, said: str
) -> None:
    """Without a key, or with a model or address that is none, it says what to set; no part of an address is quoted."""
    with pytest.raises(SettingsError, match=said) as refused:
        choose(environ, model, endpoint)

    assert "hunter2" not in str(refused.value)


def test_a_model_without_a_price_is_refused() -> None:
    """What nobody can price has no cap, so it is not asked."""
    with pytest.raises(Unpriced):
        choose({"OPENAI_API_KEY": "k"}, "chatgpt/gpt-unheard-of", None)


def test_a_server_of_ones_own_needs_no_key() -> None:
    """An endpoint alone speaks OpenAI's interface and is asked without a key."""
    live = choose({}, None, LOCAL + "/")

    assert ("openai", LOCAL, None) == (live.provider, live.endpoint, live.secret)


@pytest.mark.parametrize("endpoint", [None, LOCAL])
async def test_the_project_asks_that_model_only(tmp_path: Path, endpoint: str | None) -> None:
    """No agent stays scripted; the graph compiles at its price, its endpoint is listed, the estimate below the cap."""
    folder = tmp_path / ".demo"
    await make(folder, Screen())
    live = choose({"OPENAI_API_KEY": "k"}, None, endpoint)

    turn(folder, live)

    project = read_project(folder)
    graph = compile_file(project, folder / "graphs/customer-support.yaml").graph
    tickets = (folder / TICKETS).read_text(encoding="utf-8").splitlines()
    settings = load(folder, {}).settings
    assert {(live.name, endpoint)} == {(agent.model.name, agent.model.endpoint) for agent in graph.agents.values()}
    assert [(LOCAL, live.secret)] * (endpoint is not None) == [(one.url, one.secret) for one in settings.endpoints]
    assert graph.spine.budget is not None
    assert graph.spine.budget.microusd is not None
    assert 0 < estimate(graph, project.prompts, live.price, tickets) < graph.spine.budget.microusd * len(tickets)
