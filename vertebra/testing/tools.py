"""Tools without a world: a scenario says what they answer; the few that are harmless run as they are.

`send_email` writes into a folder that is thrown away, so its checks are real and nobody gets a mail.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from vertebra.schemas.canonical import json_text
from vertebra.schemas.errors import JobFailed, ToolHostLost
from vertebra.schemas.tool import Job, JobAnswer, ToolSpec
from vertebra.tools.checks import check_output
from vertebra.tools.context import ToolContext
from vertebra.tools.contract import Tool
from vertebra.tools.host_client import ToolHost
from vertebra.tools.registry import Registry

HARMLESS = ("search_docs", "send_email")
"""Tools that run as they are where a scenario gives no answer: they touch the project's own files only."""


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """How one attempt of a tool ends: a result, an error that it raises, or no word (it may have happened)."""

    result: JsonValue = None
    error: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """One attempt that took effect, also where its answer was lost."""

    tool: str
    arguments: JsonValue
    key: str
    """The idempotency key: attempts of one call have the same."""


@dataclass(slots=True)
class Workbench:
    """The answers that are left, and what was asked for."""

    answers: dict[str, deque[ToolAnswer]] = field(default_factory=dict)
    called: list[ToolCalled] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What is wrong with each attempt that nobody had given an answer."""

    @classmethod
    def of(cls, answers: Mapping[str, Sequence[ToolAnswer]]) -> Workbench:
        return cls({name: deque(given) for name, given in answers.items()})

    def effects(self, tool: str) -> list[ToolCalled]:
        """The calls of a tool, each once however many attempts it took."""
        return list({call.key: call for call in self.called if call.tool == tool}.values())

    def distinct(self) -> list[tuple[str, str]]:
        """Tool and key of every call, each once."""
        return list(dict.fromkeys((call.tool, call.key) for call in self.called))

    def next(self, spec: ToolSpec, arguments: JsonValue, key: str) -> ToolAnswer | None:
        """What this attempt is answered; None lets a harmless tool run. Raises ToolHostLost, JobFailed."""
        answer = self.take(spec.name, arguments, key)
        if answer is None:
            if spec.name in HARMLESS:
                return None
            raise JobFailed(f"the scenario gives no answer of {spec.name!r}", do=f"add it under tools: {spec.name}:")
        if answer.lost:
            raise ToolHostLost(f"the tool host was lost while {spec.name!r} ran, as the scenario says")
        if answer.error is not None:
            raise JobFailed(f"{spec.name!r}: {answer.error}", tool=spec.name)
        check_output(spec, answer.result)
        return answer

    def take(self, name: str, arguments: JsonValue, key: str) -> ToolAnswer | None:
        """The next answer of a tool or node, noted; None where none is left."""
        left = self.answers.get(name)
        answer = left.popleft() if left else None
        if answer is None and name not in HARMLESS:
            self.missing.append(f"tools.{name}: {self._lack(left)}")
        elif answer is None or answer.error is None:
            self.called.append(ToolCalled(name, arguments, key))
        return answer

    @staticmethod
    def _lack(left: deque[ToolAnswer] | None) -> str:
        if left is None:
            return "the scenario gives no answer for this call"
        return "the scenario's answers are used up; give one for each attempt, those that are tried again too"


@dataclass(frozen=True, eq=False)
class FakeTool(Tool):
    """A worker tool with the terms, and so the pin, of the real one."""

    bench: Workbench = field(kw_only=True, repr=False)

    async def call(self, arguments: JsonValue, context: ToolContext) -> JsonValue:
        answer = self.bench.next(self.spec, arguments, context.idempotency_key)
        return await super().call(arguments, context) if answer is None else answer.result


class FakeHost(ToolHost):
    """Answers for the tools that would run in the sandbox. It starts nothing."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench

    async def run(self, job: Job, spec: ToolSpec) -> JobAnswer:
        key = job.id.rpartition(".")[0]
        answer = self._bench.next(spec, json.loads(job.arguments), key)
        return JobAnswer(answer=json_text(None if answer is None else answer.result))


def fake_tools(tools: Iterable[Tool], bench: Workbench) -> Registry:
    """The same tools, answered by the bench."""
    found = [_fake(tool, bench) for tool in tools]
    return Registry(found, trusted=[tool.name for tool in found])


def _fake(tool: Tool, bench: Workbench) -> FakeTool:
    parts = {part.name: getattr(tool, part.name) for part in dataclasses.fields(Tool)}
    return FakeTool(**parts, bench=bench)
