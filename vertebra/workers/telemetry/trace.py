"""A run's spans from its committed audit entries. Pure: the same entries give the same spans, ids included.

So a span that is told twice is the same span, and a replay of the workflow, which commits nothing, adds none. The tree:
the run (one span for each time it was started or resumed), in it each visit of a node, in that each attempt at a model,
tool, request or function. A span is told once what ends it is on record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from vertebra.schemas.call import Telemetry
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.ids import span_id, trace_id
from vertebra.workers.telemetry import genai

ATTEMPTS = ("llm_call", "tool_execution", "http_request", "code_execution")


class Fact(NamedTuple):
    """One entry, by what its index holds."""

    seq: int
    facts: Mapping[str, Any]

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.facts["time"])

    @property
    def visit(self) -> tuple[str, int] | None:
        node, visit = self.facts.get("node"), self.facts.get("visit")
        return None if node is None or visit is None else (node, visit)


@dataclass(frozen=True, slots=True)
class Story:
    """A run as its spans tell it."""

    run: str
    graph: CompiledGraph
    correlation_id: str
    facts: Sequence[Fact]
    replies: Mapping[str, Telemetry] = field(default_factory=dict)
    """What models said of their replies, by call."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Which tool a call was of, by call."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span as any collector takes it. `seq` is of the entry that ended it."""

    seq: int
    trace: str
    id: str
    parent: str | None
    name: str
    kind: genai.Kind
    started_at: datetime
    ended_at: datetime
    ok: bool
    attributes: genai.Attributes


def spans(story: Story, after: int = 0) -> list[Span]:
    """The spans that entries beyond `after` ended, in the order of these entries."""
    return [span for span in _Teller(story).all() if span.seq > after]


class _Teller:
    """Walks through a run's entries once."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._trace = trace_id(story.correlation_id)
        self._epoch = 0
        self._begun: Fact | None = None
        self._intents: dict[tuple[str, int], Fact] = {}
        self._told: set[tuple[str, int]] = set()
        self._visits: dict[tuple[str, int], list[Fact]] = {}
        self._microusd = self._tokens = 0

    def all(self) -> Iterator[Span]:
        for fact in self._story.facts:
            match fact.facts["operation"], fact.facts["phase"]:
                case "resumed", _:
                    self._epoch += 1
                    self._begin(fact)
                case "run_start", _:
                    self._begin(fact)
                case "run_end", _:
                    yield from self._end(fact)
                case "edge_taken", _:
                    yield from self._leave(fact)
                case operation, phase if operation in ATTEMPTS:
                    yield from self._attempt(fact, phase)
                case _:
                    self._note(fact)

    def _begin(self, fact: Fact) -> None:
        self._begun = fact
        self._microusd = self._tokens = 0

    def _note(self, fact: Fact) -> None:
        if fact.visit is not None:
            self._visits.setdefault(fact.visit, []).append(fact)

    def _attempt(self, fact: Fact, phase: str) -> Iterator[Span]:
        self._note(fact)
        facts = fact.facts
        if phase == "event" or "call" not in facts:
            return  # held or refused: no attempt was made
        key = (facts["call"], facts["attempt"])
        if phase == "intent":
            self._intents[key] = fact
            return
        self._microusd += facts.get("cost_microusd", 0)
        self._tokens += facts.get("tokens", 0)
        if key not in self._told:  # a late outcome ends no attempt a second time
            self._told.add(key)
            yield self._attempt_span(fact, self._intents.get(key, fact))

    def _attempt_span(self, fact: Fact, intent: Fact) -> Span:
        facts, call = fact.facts, fact.facts["call"]
        named, attributes = self._named(facts, call)
        figures = {"cost_microusd": facts.get("cost_microusd"), "tokens": facts.get("tokens")}
        more = genai.ours(call=call, attempt=facts["attempt"], outcome=facts.get("outcome"), **figures)
        parent = self._id("visit", *map(str, fact.visit or ()))
        id_ = span_id(self._story.run, call, str(facts["attempt"]))
        return self._span(fact, id_, parent, (named, {**attributes, **more}), intent.at, kind="client")

    def _named(self, facts: Mapping[str, Any], call: str) -> tuple[str, genai.Attributes]:
        """Name and attributes of an attempt, by what it was an attempt at."""
        agent, role = self._agent(facts)
        node = self._story.graph.nodes.get(facts["node"])
        match facts["operation"]:
            case "llm_call":
                model = self._story.graph.agents[agent].model if agent in self._story.graph.agents else None
                provider, name = (model.provider, model.model) if model else ("unknown", "unknown")
                return genai.chat(agent, role, provider, name, self._story.replies.get(call))
            case "http_request":
                return genai.request(node.http.method if node and node.http else "HTTP")
            case "code_execution":
                return genai.function((node.router.function if node and node.router else None) or "unknown")
            case _:
                tool = self._story.tools.get(call) or (node.tool if node else None) or "unknown"
                return genai.execute_tool(tool, agent, role)

    def _leave(self, fact: Fact) -> Iterator[Span]:
        if fact.visit is not None and fact.visit in self._visits:
            yield self._visit_span(fact, self._visits.pop(fact.visit))

    def _visit_span(self, fact: Fact, seen: Sequence[Fact]) -> Span:
        node, visit = seen[0].visit or ("", 0)
        held = self._story.graph.nodes.get(node)
        agent, role = self._agent({"agent": held.agent if held else None})
        told = genai.visit(node, agent, role)
        id_ = self._id("visit", node, str(visit))
        ended = max(one.at for one in seen)
        span = self._span(fact, id_, self._id("run"), told, seen[0].at, ended_at=max(ended, seen[0].at))
        return _with(span, genai.ours(node=node, visit=visit))

    def _end(self, fact: Fact) -> Iterator[Span]:
        for place in list(self._visits):
            yield self._visit_span(fact, self._visits.pop(place))
        if self._begun is None:
            return
        graph, state = self._story.graph, str(fact.facts.get("outcome"))
        told = genai.run(graph.name, graph.version, state)
        span = self._span(fact, self._id("run"), None, told, self._begun.at)
        yield _with(span, genai.ours(cost_microusd=self._microusd, tokens=self._tokens, epoch=self._epoch))
        self._begun = None

    def _span(
        self, fact: Fact, id_: str, parent: str | None, told: tuple[str, genai.Attributes], started_at: datetime, *,
        kind: genai.Kind = "internal", ended_at: datetime | None = None,
    ) -> Span:  # fmt: skip
        ok = fact.facts.get("success", True) is not False
        about = genai.ours(run=self._story.run, node=fact.facts.get("node"), visit=fact.facts.get("visit"))
        bad = {} if ok else genai.failed(str(fact.facts.get("outcome") or "failed"))
        ended = max(ended_at or fact.at, started_at)
        attributes = {**told[1], **about, **bad}
        return Span(fact.seq, self._trace, id_, parent, told[0], kind, started_at, ended, ok, attributes)

    def _agent(self, facts: Mapping[str, Any]) -> tuple[str | None, str]:
        agent = facts.get("agent")
        held = self._story.graph.agents.get(agent or "")
        return agent, held.role if held else ""

    def _id(self, *what: str) -> str:
        return span_id(self._story.run, str(self._epoch), *what)


def _with(span: Span, more: genai.Attributes) -> Span:
    plain = {name: getattr(span, name) for name in Span.__slots__}
    return Span(**{**plain, "attributes": {**span.attributes, **more}})
