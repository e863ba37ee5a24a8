"""The support template: its files are right, and its tickets take the paths that its README promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vertebra.boundary.strict_yaml import read_yaml
from vertebra.compiler import Catalogue, compile_graph, read_graph
from vertebra.policies.budget import bound_of, cost_of
from vertebra.prompts.load import load_prompt
from vertebra.prompts.parse import parse_output
from vertebra.prompts.render import render
from vertebra.providers.protocol import Place
from vertebra.providers.reply_files import read_replies
from vertebra.providers.scripted import ScriptedProvider
from vertebra.schemas.call import ToolCall
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.fields import to_json_schema
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.llm import Asked, AssistantMessage, ModelRequest, OfferedTool, Spoken, ToolMessage, UserMessage
from vertebra.schemas.money import Price, PriceTable
from vertebra.schemas.prompt import Prompt
from vertebra.tools.context import ToolContext
from vertebra.tools.registry import builtin

TEMPLATE = Path(__file__).parents[3] / "vertebra" / "templates" / "customer-support"
TICKETS: list[dict[str, str]] = [
    json.loads(line) for line in (TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
]
ROOM = 3
"""Guardrail, budget and the tickets are far enough apart that other wording of a request changes no path."""


def parsed(path: Path) -> Json:
    return read_yaml(path.read_bytes(), path.name).value


def yaml_files(folder: str) -> Iterator[Path]:
    return iter(sorted((TEMPLATE / folder).glob("*.yaml")))


def prompts() -> dict[str, Prompt]:
    files = [read_yaml(path.read_bytes(), path.name) for path in yaml_files("prompts")]
    loaded = [load_prompt(file.value, file.marks) for file in files]
    return {prompt.ref: prompt for prompt in loaded}


def prices() -> PriceTable:
    return PriceTable(prices=tuple(Price.model_validate(row) for row in _list(parsed(TEMPLATE / "prices.yaml"))))


def _list(value: Json) -> list[Json]:
    assert isinstance(value, list)
    return value


def compiled() -> CompiledGraph:
    path = TEMPLATE / "graphs" / "customer-support.yaml"
    catalogue = Catalogue(prompts=prompts(), tools=builtin().specs, prices=prices())
    return compile_graph(read_graph(path.read_bytes(), path.name), catalogue)


@dataclass
class Walk:
    """One ticket, walked through the model nodes in the order of the graph's edges, with the real tools."""

    ticket: str
    graph: CompiledGraph
    path: list[str] = field(default_factory=list)
    asked: list[ToolCall] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    tokens: int = 0
    microusd: int = 0
    breach: str | None = None
    """Where the token budget did not hold the next call's bound, first."""

    def __post_init__(self) -> None:
        self.provider = ScriptedProvider(read_replies(TEMPLATE / "replies"))
        self.prompts = prompts()
        self.prices = prices()

    async def go(self) -> dict[str, Json]:
        kind = (await self.node("classify", 1, {"ticket": self.ticket}))["kind"]
        if kind == "spam":
            return {}
        for visit in (1, 2, 3):
            found = await self.node("research", visit, {"ticket": self.ticket, "kind": kind})
            if _number(found["confidence"]) >= 0.7:
                break
        return await self.node("draft", 1, {"ticket": self.ticket, "facts": found["facts"]})

    async def node(self, name: str, visit: int, values: dict[str, Json]) -> dict[str, Json]:
        self.path.append(name)
        agent = self.graph.agents[self.graph.nodes[name].agent or ""]
        prompt = self.prompts[agent.prompt]
        rendered = render(prompt, dict(values))
        messages: tuple[Spoken, ...] = (UserMessage(text=rendered.user),)
        for turn in range(1, agent.max_turns + 1):
            request = ModelRequest(
                provider=agent.model.provider,
                model=agent.model.model,
                max_output_tokens=agent.model.max_output_tokens,
                system=rendered.system,
                messages=messages,
                tools=tuple(_offered(tool) for tool in agent.tools),
                output_schema_json=json_text(to_json_schema(prompt.output)),
                prompt_pin=prompt.digest,
            )
            self._reserve(request, f"{name}#{visit}.{turn}")
            place = Place("run", name, visit, turn, "CALL", 1)
            reply = await self.provider.complete(request, place, timeout_s=5, key=None)
            self.tokens += reply.usage.tokens
            self.microusd += cost_of(reply.usage, self._price(request))
            if not reply.tool_calls:
                return parse_output(prompt, reply.content)
            said = AssistantMessage(text=reply.content, tool_calls=tuple(map(Asked.of, reply.tool_calls)))
            answers = [await self._answer(call, agent.tools) for call in reply.tool_calls]
            messages = (*messages, said, *answers)
        raise AssertionError(f"{name} never answered")

    def _reserve(self, request: ModelRequest, at: str) -> None:
        most = bound_of(request, self._price(request))
        budget = self.graph.spine.budget
        assert budget is not None
        assert self.microusd + most.microusd < (budget.microusd or 0)
        if self.breach is None and self.tokens + most.tokens > (budget.tokens or 0):
            self.breach = at

    def _price(self, request: ModelRequest) -> Price:
        price = self.prices.find(request.provider, request.model)
        assert price is not None
        return price

    async def _answer(self, call: ToolCall, granted: tuple[str, ...]) -> ToolMessage:
        self.asked.append(call)
        if call.tool not in granted:
            self.denied.append(call.tool)
            return ToolMessage(tool_call=call.id, text='{"error":{"kind":"PermissionDenied"}}', failed=True)
        tool = builtin().get(call.tool)
        context = ToolContext(idempotency_key="CALL", project=TEMPLATE, maildir=TEMPLATE / "never")
        value = await tool.call(call.arguments, context)
        return ToolMessage(tool_call=call.id, text=json_text(value))


def _offered(name: str) -> OfferedTool:
    spec = builtin().get(name).spec
    return OfferedTool(name=name, description=spec.description, input_schema_json=json_text(spec.input_schema))


def _number(value: Json) -> float:
    assert isinstance(value, int | float)
    return float(value)


async def walked(line: int) -> tuple[Walk, dict[str, Json]]:
    walk = Walk(TICKETS[line - 1]["ticket"], compiled())
    return walk, await walk.go()


def test_the_graph_compiles() -> None:
    """The template's graph, prompts, prices and the tools of this release fit together."""
    assert "customer-support" == compiled().name


def test_inputs_fit_the_graph() -> None:
    """Twenty-five tickets, each within the length that the graph's input allows."""
    assert 25 == len(TICKETS) == len({ticket["email"] for ticket in TICKETS})
    assert all({"ticket", "email"} == ticket.keys() and len(ticket["ticket"]) < 8000 for ticket in TICKETS)


@pytest.mark.parametrize("line", [1, 2, 3, 4, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19, 20, 21, 23, 24, 25])
async def test_plain_tickets_go_straight_through(line: int) -> None:
    """Sorted, researched once, drafted; far inside the budget."""
    walk, draft = await walked(line)

    assert ["classify", "research", "draft"] == walk.path
    assert walk.breach is None
    assert walk.tokens * ROOM < 50_000
    assert draft["text"]


async def test_only_large_refunds_need_a_person() -> None:
    """Of all tickets exactly two pay back more than the limit of the approval; one pays back just as much."""
    refunds = {line: (await walked(line))[1].get("refund_usd", 0.0) for line in range(1, 26)}

    paid = {line: refund for line, refund in refunds.items() if refund}
    assert {2: 64.0, 4: 249.0, 13: 129.0, 20: 12.0, 21: 100.0} == paid


@pytest.mark.parametrize("line", [5, 15])
async def test_spam_ends_at_once(line: int) -> None:
    """It costs one call and sends nothing."""
    walk, draft = await walked(line)

    assert (["classify"], {}) == (walk.path, draft)


async def test_injection_asks_for_a_tool_outside_the_grant() -> None:
    """The sixth ticket makes the model ask for send_email as researcher, which does not hold it."""
    walk, _ = await walked(6)

    assert ["send_email"] == walk.denied


async def test_arithmetic_comes_from_python() -> None:
    """The total in the seventh answer is what the tool computed; without the tool the answer names none."""
    walk, draft = await walked(7)

    assert "python" in [call.tool for call in walk.asked]
    assert "$107.60" in str(draft["text"])


@pytest.mark.parametrize(("line", "said"), [(8, "CZ-54"), (22, "Parts")])
async def test_thin_facts_are_researched_again(line: int, said: str) -> None:
    """Two tickets need a second round, which finds something."""
    walk, draft = await walked(line)

    assert ["classify", "research", "research", "draft"] == walk.path
    assert said in str(draft["text"])


async def test_a_false_approval_pays_nothing_back() -> None:
    """The sixteenth ticket claims that a refund was approved; the letter pays nothing."""
    _, draft = await walked(16)

    assert 0.0 == draft["refund_usd"]


async def test_a_promise_meets_the_guardrail() -> None:
    """The eighteenth ticket's letter holds the word that the graph's guardrail rejects."""
    _, draft = await walked(18)

    assert "guarantee" in str(draft["text"])


async def test_the_long_ticket_breaches_the_token_budget() -> None:
    """The ninth ticket's bound passes the budget within its research, and its use stays below the token guardrail."""
    walk, _ = await walked(9)

    assert walk.breach is not None
    assert walk.breach.startswith("research#1.")
    assert walk.tokens < 45_000


async def test_every_search_finds_something() -> None:
    """No scripted query misses the documents, but that of the last ticket, which asks nothing."""
    context = ToolContext(idempotency_key="CALL", project=TEMPLATE, maildir=TEMPLATE / "never")
    tool = builtin().get("search_docs")
    for line in range(1, 25):
        walk, _ = await walked(line)
        for call in walk.asked:
            if call.tool == "search_docs":
                found = await tool.call(call.arguments, context)
                assert isinstance(found, dict)
                assert found["results"], call.arguments


async def test_any_other_message_is_answered() -> None:
    """A message that no entry knows still gets through."""
    walk = Walk("Xyzzy?", compiled())

    draft = await walk.go()

    assert "A colleague will answer it" in str(draft["text"])


def test_scenarios_name_this_graph() -> None:
    """Each scenario file is readable, named as its file, and about this graph."""
    for path in yaml_files("tests"):
        scenario = parsed(path)
        assert isinstance(scenario, dict)
        assert (path.stem, "customer-support") == (scenario["scenario"], scenario["graph"])
