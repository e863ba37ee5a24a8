"""Reads the scenario files of a project; every mistake is told with its line, and the nearest name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vertebra.boundary.strict_yaml import YamlFile, read_yaml
from vertebra.client.commands import Verb
from vertebra.compiler import Project
from vertebra.compiler.durations import DURATION, MONEY, microusd, seconds
from vertebra.policies.fields import inspect_fields, nearest
from vertebra.providers.reply_files import read_replies
from vertebra.providers.scripted import file_of
from vertebra.schemas.audit import OPERATIONS
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadFile, Complaints, GraphError, NotFound
from vertebra.schemas.fields import fields_of
from vertebra.schemas.graph import CompiledGraph, Node
from vertebra.schemas.places import ComplaintList
from vertebra.schemas.places import Path as Keys
from vertebra.testing.acts import NODE_VERBS, Command, Decision
from vertebra.testing.replies import entries_of
from vertebra.testing.requests import PARTS, wrong_part
from vertebra.testing.scenario import Expected, GivenCommand, GivenDecision, GivenScenario, GivenTool, Scenario
from vertebra.testing.shapes import tell
from vertebra.testing.stage import TESTER, everybody, names_of
from vertebra.testing.tools import ToolAnswer
from vertebra.tools.registry import builtin
from vertebra.workers.compiling import Compiled, compile_file, whole_project

FOLDER = "tests"
VERBS: tuple[Verb, ...] = ("retry", "skip", "override", "top_up", "renew", "abort", "cancel", "event")
_Model = TypeVar("_Model", bound=BaseModel)


def read_scenarios(folder: Path, name: str | None = None) -> list[Scenario]:
    """The scenarios of a project, or the one of this name, in order of file. Raises Complaints, NotFound.

    Of a name, mistakes in files that it does not need are passed over: of other scenarios and graphs, and in prompts,
    tools and replies.
    """
    aside: list[GraphError] | None = None if name is None else []
    project = whole_project(folder, aside=aside)
    replies = read_replies(folder / "replies", aside)
    compiled: dict[str, Compiled] = {}
    found: list[Scenario] = []
    mistakes: list[GraphError] = []
    for path in _files(project, name):
        try:
            found.append(_Reader(project, replies, compiled, path).read())
        except Complaints as several:
            mistakes.extend(several.complaints)
        except GraphError as mistake:
            mistakes.append(mistake)
    mistakes += _twice(found)
    if mistakes or any(_answers_in(mistake, found) for mistake in aside or ()):
        # a mistake of a graph is met again by each of its scenarios
        raise Complaints(list({str(mistake): mistake for mistake in (*(aside or ()), *mistakes)}.values()))
    return found


def _answers_in(mistake: GraphError, found: Iterable[Scenario]) -> bool:
    """Whether it stands in the replies of a node of these scenarios: without them the graph compiles all the same."""
    file = (mistake.at or "").partition(":")[0]
    return any(file == file_of(node) for scenario in found for node in scenario.compiled.graph.nodes)


def _files(project: Project, name: str | None) -> list[Path]:
    """The files of all scenarios, or those that give this name. Raises NotFound, or BadFile for what may hide it."""
    paths = sorted(path for path in (project.folder / FOLDER).glob("*.yaml") if path.is_file())
    if name is None:
        return paths
    named: dict[Path, Json] = {}
    unread: BadFile | None = None
    for path in paths:
        try:
            value = _read(project, path).value
        except BadFile as mistake:
            unread = unread or mistake
            continue
        named[path] = value.get("scenario") if isinstance(value, dict) else None
    mine = [path for path, said in named.items() if said == name]
    if not mine and unread is not None:
        raise unread
    if not mine:
        do = nearest(name, [said for said in named.values() if isinstance(said, str)])
        raise NotFound(f"there is no scenario {name!r} in {FOLDER}/", do=do)
    return mine


def _read(project: Project, path: Path) -> YamlFile:
    return read_yaml(path.read_bytes(), path.relative_to(project.folder).as_posix())


def _twice(found: Iterable[Scenario]) -> list[GraphError]:
    files: dict[str, str] = {}
    mistakes: list[GraphError] = []
    for scenario in found:
        first = files.setdefault(scenario.name, scenario.file)
        if first != scenario.file:
            message = f"scenario {scenario.name!r} stands in {first} too"
            mistakes.append(BadFile(message, at=scenario.file, do="give one of them another name"))
    return mistakes


@dataclass(frozen=True, slots=True)
class _Names:
    """What a scenario may speak of."""

    graph: CompiledGraph
    people: tuple[str, ...]
    tools: tuple[str, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self.graph.nodes)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(name for name, node in self.graph.nodes.items() if node.agent is not None)

    @property
    def events(self) -> tuple[str, ...]:
        """What some node waits for."""
        waiting = [node.pause for node in self.graph.nodes.values() if node.pause is not None]
        return tuple(pause.event for pause in waiting if pause.event is not None)

    @property
    def asking(self) -> tuple[str, ...]:
        """Nodes about which somebody may be asked something."""
        paused = {rule.on for rule in self.graph.guardrails if rule.action == "pause"}
        every = "*" in paused
        return tuple(name for name, node in self.graph.nodes.items() if every or name in paused or _asks(node))


def _answered(graph: CompiledGraph) -> list[str]:
    """Nodes that a scenario answers for by their own names."""
    functions = [name for name, node in graph.nodes.items() if node.router is not None and node.router.function]
    return [*functions, *(name for name, node in graph.nodes.items() if node.type == "http")]


def _asks(node: Node) -> bool:
    return node.type == "human" or (node.approval is not None and node.approval.never is None)


class _Reader:
    """One file."""

    def __init__(
        self, project: Project, replies: Mapping[str, Json], compiled: dict[str, Compiled], path: Path
    ) -> None:
        self._project, self._replies, self._compiled = project, replies, compiled
        self._file = _read(project, path)
        self._shown = path.relative_to(project.folder).as_posix()
        self._complain = ComplaintList(self._file.marks)

    def read(self) -> Scenario:
        """The scenario. Raises Complaints."""
        given = self._model(GivenScenario, self._file.value, ())
        self._complain.raise_any()
        assert given is not None
        compiled = self._graph(given.graph)
        self._names = _Names(
            compiled.graph,
            tuple(names_of(everybody(self._project))),
            tuple(sorted({*builtin().specs, *self._project.tools, *_answered(compiled.graph)})),
        )
        self._check_input(given.input)
        expect = self._model(Expected, given.expect or {}, ("expect",)) or Expected()
        scenario = Scenario(
            name=given.scenario,
            file=self._shown,
            project=self._project,
            compiled=compiled,
            input=given.input,
            replies=self._all_replies(given.replies),
            tools=self._tools(given.tools),
            decisions=self._decisions(given.approvals),
            commands=self._commands(given.commands),
            expect=expect,
            places={key: self._file.marks.at(("expect", key)) for key in Expected.model_fields},
        )
        self._check_expected(expect)
        self._complain.raise_any()
        return scenario

    def _graph(self, name: str) -> Compiled:
        path = self._project.graph(name)
        if path is None:
            known = [one.stem for one in self._project.graphs]
            self._complain(("graph",), f"this project has no graph {name!r}", nearest(name, known))
            self._complain.raise_any()
        assert path is not None
        if name not in self._compiled:
            self._compiled[name] = compile_file(self._project, path)
        return self._compiled[name]

    def _all_replies(self, given: Json) -> Mapping[str, Json]:
        """The scenario's replies, and after them those of the project."""
        found: dict[str, Json] = dict(self._replies)
        for node, items in self._mapping(given, ("replies",)):
            if not self._known(node, self._names.models, ("replies", node), "node with a model"):
                continue
            agent = self._names.graph.nodes[node].agent or ""
            prompt = self._project.prompts[self._names.graph.agents[agent].prompt]
            more = self._replies.get(node)
            written = entries_of(items, prompt, ("replies", node), self._complain)
            found[node] = [*written, *(more if isinstance(more, list) else [])]
        return found

    def _tools(self, given: Json) -> dict[str, tuple[ToolAnswer, ...]]:
        found: dict[str, tuple[ToolAnswer, ...]] = {}
        for name, items in self._mapping(given, ("tools",)):
            if self._known(name, self._names.tools, ("tools", name), "tool"):
                lines = self._lines(GivenTool, items, ("tools", name))
                self._check_requests(name, lines)
                found[name] = tuple(ToolAnswer(line.result, line.error, line.lost) for _, line in lines)
        return found

    def _check_requests(self, name: str, lines: Iterable[tuple[Keys, GivenTool]]) -> None:
        node = self._names.graph.nodes.get(name)
        for path, line in lines if node is not None and node.type == "http" else ():
            said = {} if line.result is None else line.result
            odd = wrong_part(said) if isinstance(said, dict) else "result"
            if odd is not None:
                do = f"write result: {{{', '.join(PARTS)}}}"
                self._complain((*path, "result"), f"{odd!r} is none of a host's answer, or holds what it cannot", do)

    def _decisions(self, given: Json) -> dict[str, tuple[Decision, ...]]:
        found: dict[str, tuple[Decision, ...]] = {}
        for node, items in self._mapping(given, ("approvals",)):
            if self._known(node, self._names.asking, ("approvals", node), "node that asks"):
                lines = self._lines(GivenDecision, items, ("approvals", node))
                found[node] = tuple(self._decision(line, path) for path, line in lines)
        return found

    def _decision(self, line: GivenDecision, path: Keys) -> Decision:
        self._person(line.by, path)
        if line.decision == "edit" and not isinstance(line.arguments, dict):
            self._complain(path, "an edit says which arguments change", "write arguments: {NAME: VALUE}")
        return Decision(line.decision, line.by, line.arguments, line.reason, self._after(line.after, path))

    def _commands(self, given: Json) -> tuple[Command, ...]:
        lines = self._lines(GivenCommand, given, ("commands",)) if given is not None else []
        found = [self._command(line, path) for path, line in lines]
        return tuple(one for one in found if one is not None)

    def _command(self, line: GivenCommand, path: Keys) -> Command | None:
        verbs = [verb for verb in VERBS if getattr(line, verb) not in (None, False)]
        if len(verbs) != 1:
            self._complain(path, f"a command has exactly one verb, this one has {len(verbs)}", f"one of {VERBS}")
            return None
        [verb] = verbs
        self._person(line.by, path)
        node = getattr(line, verb) if verb in NODE_VERBS else None
        if node is not None:
            self._known(node, self._names.nodes, (*path, verb), "node")
        arguments = self._amount(line, path) if verb in ("top_up", "renew") else line.result
        if line.event is not None:
            self._known(line.event, self._names.events, (*path, verb), "event")
            arguments = {"event": line.event, "payload": {} if line.payload is None else line.payload}
        after, by = self._after(line.after, path), line.by or TESTER.name
        return Command(verb, node, arguments, by, line.reason, after)

    def _amount(self, line: GivenCommand, path: Keys) -> Json:
        """How much a `top_up` adds, or for how long a `renew` is."""
        if line.renew is not None:
            return {"seconds": self._after(line.renew, (*path, "renew"))}
        given = line.top_up or {}
        money, tokens = microusd(given.get("usd", 0)), given.get("tokens", 0)
        for key in sorted(set(given) - {"usd", "tokens"}):
            self._complain((*path, "top_up", key), f"a top-up has no {key!r}", nearest(key, ("usd", "tokens")))
        if money is None:
            self._complain((*path, "top_up", "usd"), "these are no dollars", MONEY)
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
            self._complain((*path, "top_up", "tokens"), "tokens are a whole number", "write tokens: 10000")
            tokens = 0
        return {"microusd": money or 0, "tokens": tokens}

    def _check_input(self, given: Json) -> None:
        _, problems = inspect_fields(fields_of(self._names.graph.input_json), given)
        for problem in problems:
            self._complain(("input", *problem.path), f"input of {self._names.graph.name}: {problem}")

    def _check_expected(self, expect: Expected) -> None:
        for index, node in enumerate(expect.path or ()):
            self._known(node, self._names.nodes, ("expect", "path", index), "node")
        for field in expect.output or {}:
            self._known(field, tuple(self._names.graph.output), ("expect", "output", field), "field of the output")
        for node in expect.blocked or {}:
            self._known(node, self._names.nodes, ("expect", "blocked", node), "node")
        for tool in expect.tools or {}:
            self._known(tool, self._names.tools, ("expect", "tools", tool), "tool")
        for operation in expect.audit or {}:
            self._known(operation, OPERATIONS, ("expect", "audit", operation), "operation of the audit")

    # ---- shapes ----------------------------------------------------------------------------------------------------

    def _model(self, kind: type[_Model], raw: Json, path: Keys) -> _Model | None:
        try:
            return kind.model_validate_json(json.dumps(raw))
        except ValidationError as problem:
            tell(problem, raw, kind, self._complain, path)
        return None

    def _mapping(self, given: Json, path: Keys) -> list[tuple[str, Json]]:
        if given is None:
            return []
        if not isinstance(given, dict):
            self._complain(path, f"{path[-1]} is a mapping by name", f"write {path[-1]}: {{NAME: [...]}}")
            return []
        return list(given.items())

    def _lines(self, kind: type[_Model], items: Json, path: Keys) -> list[tuple[Keys, _Model]]:
        """A list of lines; a single line needs no list."""
        given = items if isinstance(items, list) else [items]
        places: list[Keys] = [(*path, index) if isinstance(items, list) else path for index in range(len(given))]
        read = [(place, self._model(kind, item, place)) for place, item in zip(places, given, strict=True)]
        return [(place, line) for place, line in read if line is not None]

    def _known(self, name: str, known: tuple[str, ...], path: Keys, what: str) -> bool:
        if name in known:
            return True
        graph = "" if what in ("tool", "operation of the audit") else f" of graph {self._names.graph.name!r}"
        self._complain(path, f"{name!r} is no {what}{graph}", nearest(name, known))
        return False

    def _person(self, name: str | None, path: Keys) -> None:
        if name is not None and name not in self._names.people:
            message = f"nobody is called {name!r} or holds such a role"
            self._complain((*path, "as"), message, nearest(name, self._names.people))

    def _after(self, text: str | None, path: Keys) -> int:
        length = 0 if text is None else seconds(text)
        if length is None:
            self._complain((*path, "after"), f"{text!r} is no duration in whole seconds", DURATION)
        return length or 0
