"""`vertebra demo --live`: the same graph on a real model. Its cost is said first; what it says is not judged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from vertebra.cli.demo.play import GRAPH, Play
from vertebra.compiler import read_project
from vertebra.ledger.prices import price_of
from vertebra.policies.budget import cost_of
from vertebra.providers.registry import DEFAULT_MODELS, Setup, known_words, make_providers
from vertebra.schemas.errors import BadFile, SettingsError
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import ENDPOINT, SECRET
from vertebra.schemas.money import MicroUSD, Price, PriceTable, Usage, usd
from vertebra.schemas.prompt import Prompt
from vertebra.workers.compiling import compile_file

TICKETS = "live.jsonl"
_COUNT = 3
_OUTPUT_CAP = 4096
"""More than the usual cap: a model that reasons first spends some of it unseen."""
_TURNS = 2
"""What an agent is thought to take: one turn with tools, one with the answer."""
_REPLY_TOKENS = 400
_BYTES_A_TOKEN = 4
_SCRIPTED = re.compile(r"model: \{provider: scripted, model: [a-z]+\}")


@dataclass(frozen=True, slots=True)
class Live:
    """The model that is asked."""

    provider: str
    model: str
    price: Price
    secret: str | None
    """The name of the key's secret; None: the endpoint is asked without one."""
    endpoint: str | None = None

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def place(self) -> str:
        """Where it is asked, and with what."""
        at = f"at {self.endpoint}" if self.endpoint else "at its vendor's own address"
        return f"{at}, with the key in {self.secret}" if self.secret else f"{at}, without a key"


def choose(environ: Mapping[str, str], model: str | None, endpoint: str | None) -> Live:
    """The model to ask: the given one, else that of the first vendor whose key is there.

    Raises SettingsError without a key, Unpriced for a model that no price list knows.
    """
    keys = {vendor: _variable(vendor) for vendor in sorted(DEFAULT_MODELS)}
    word, _, rest = (model or "").partition("/")
    vendor = known_words().get(word, word) if model else next((one for one in keys if environ.get(keys[one])), None)
    if vendor is None and endpoint is not None:
        vendor = "openai"  # what servers of one's own speak
    if vendor is None:
        raise SettingsError(
            "--live asks a real model, and no key for one is set", do=f"set {' or '.join(keys.values())}"
        )
    if vendor not in keys or (model and not rest):
        examples = " or ".join(f"{one}/{DEFAULT_MODELS[one]}" for one in keys)
        raise SettingsError(f"--model {model!r} names no model of a real vendor", do=f"write {examples}")
    if endpoint is not None and not ENDPOINT.fullmatch(endpoint):
        raise SettingsError("--endpoint is no plain http(s) address", do="write --endpoint http://127.0.0.1:8000/v1")
    has_key = bool(environ.get(keys[vendor]))
    if not has_key and endpoint is None:
        raise SettingsError(f"--live asks {vendor}, and its key is not set", do=f"set {keys[vendor]}")
    named = rest or DEFAULT_MODELS[vendor]
    price = price_of(vendor, named, PriceTable(), datetime.now(UTC))
    secret = f"secret://env/{keys[vendor]}" if has_key else None
    return Live(vendor, named, price, secret, None if endpoint is None else endpoint.rstrip("/"))


def _variable(vendor: str) -> str:
    found = SECRET.fullmatch(make_providers(Setup()).get(vendor).secret(None) or "")
    assert found is not None
    return found["env"]


def turn(folder: Path, live: Live) -> None:
    """Let the agents of the demo's project ask this model, and take a few tickets. Raises BadFile."""
    graph = folder / "graphs" / f"{GRAPH}.yaml"
    asked = f"model: {{provider: {live.provider}, model: {live.model}, max_output_tokens: {_OUTPUT_CAP}"
    asked += f", endpoint: '{live.endpoint}'}}" if live.endpoint else "}"
    text = _SCRIPTED.sub(lambda _: asked, graph.read_text(encoding="utf-8"))
    if "provider: scripted" in text:
        raise BadFile("an agent of the template would still be scripted", at=str(graph))
    graph.write_text(text, encoding="utf-8")
    if live.endpoint:
        _list(folder, live, live.endpoint)
    lines = (folder / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / TICKETS).write_text("\n".join(lines[:_COUNT]) + "\n", encoding="utf-8")


def _list(folder: Path, live: Live, endpoint: str) -> None:
    """What an operator writes for another address: that it may be asked, with which key, and what it costs."""
    line = f"{endpoint} {live.secret}" if live.secret else endpoint
    settings = folder / "vertebra.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + f'endpoints = ["{line}"]\n', encoding="utf-8")
    row = {"provider": live.provider, "model": live.model, "input": live.price.input, "output": live.price.output}
    prices = folder / "prices.yaml"
    prices.write_text(prices.read_text(encoding="utf-8") + yaml.safe_dump([row]), encoding="utf-8")


def bill(play: Play, live: Live) -> None:
    """Say what will be asked, what that is thought to cost, and what it costs at most."""
    project = read_project(play.folder)
    compiled = compile_file(project, play.folder / "graphs" / f"{GRAPH}.yaml").graph
    tickets = (play.folder / TICKETS).read_text(encoding="utf-8").splitlines()
    cap = compiled.spine.budget.microusd if compiled.spine.budget else None
    assert cap is not None
    thought = estimate(compiled, project.prompts, live.price, tickets)
    play.screen.line(f"  model     {live.name}, {live.place}")
    play.screen.line(f"  estimate  {usd(thought)} for {len(tickets)} tickets, if each node is visited once")
    play.screen.line(
        f"  cap       {usd(MicroUSD(cap * len(tickets)))}: a run may spend {usd(MicroUSD(cap))}, then it waits"
    )


def estimate(graph: CompiledGraph, prompts: Mapping[str, Prompt], price: Price, tickets: list[str]) -> MicroUSD:
    """What the tickets are thought to cost: one visit a node, two turns an agent, four bytes a token. Pure."""
    total = 0
    for ticket in tickets:
        for node in graph.nodes.values():
            if node.agent is None:
                continue
            agent = graph.agents[node.agent]
            turns = _TURNS if agent.type == "agent" else 1
            size = len(prompts[agent.prompt].canonical) + len(ticket.encode())
            tokens = math.ceil(size / _BYTES_A_TOKEN)
            total += cost_of(Usage(input=tokens * turns, output=_REPLY_TOKENS * turns), price)
    return MicroUSD(total)
