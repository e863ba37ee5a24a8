"""The Python builder: the same graph as a YAML file, from calls that each return a new graph.

Every call is read by the readers of the YAML form, so that both give the same digest and the same complaints, here with
the file and line of the call.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any, cast

from pydantic import PrivateAttr

from vertebra.compiler.read import read_document, read_source
from vertebra.schemas import authored
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadJson, GraphError
from vertebra.schemas.graph import END
from vertebra.schemas.places import Path, Places, Unplaced, dotted
from vertebra.schemas.strict_json import MAX_DEPTH, check_value

Router = Callable[..., object] | str
"""A function of a project file, or its name as `tools/FILE.py:FUNCTION`."""


class CallSites:
    """Where each part of a built graph was written: the file and line of the call that brought it."""

    def __init__(self, under: Places, sites: Mapping[Path, str]) -> None:
        """`under` tells the places of what no call brought."""
        self._under, self._sites = under, dict(sites)

    def at(self, path: Path) -> str:
        for length in range(len(path), -1, -1):
            if path[:length] in self._sites:
                return self._sites[path[:length]]
        return self._under.at(path)

    def in_text(self, path: Path, line: int) -> str:
        here = self.at(path)
        return here if here in self._sites.values() else self._under.in_text(path, line)

    def with_site(self, path: Path, site: str) -> CallSites:
        return CallSites(self._under, {**self._sites, path: site})


class AgentGraph(authored.AgentGraph):
    """A graph as its author wrote it. Methods return a new one; mistakes of shape raise Complaints at once."""

    _raw: dict[str, Json] = PrivateAttr(default_factory=dict)

    def __init__(self, graph: str, version: str, description: str | None = None) -> None:
        site = _caller()
        raw: dict[str, Json] = {"graph": _checked(graph, ("graph",), site), "nodes": {}}
        raw["version"] = _checked(version, ("version",), site)
        if description is not None:
            raw["description"] = _checked(description, ("description",), site)
        sites = CallSites(Unplaced(graph), {(): site, ("graph",): site, ("version",): site})
        super().__init__(**_parts(raw, sites))
        self._raw = raw

    def with_input(self, **fields: Json) -> AgentGraph:
        """Fields of the run's input, as `ticket={"type": "string", "required": True}`."""
        return self._with("input", fields)

    def with_output(self, **fields: Json) -> AgentGraph:
        """Fields of the run's output, each with a type and `"from": PATH`."""
        return self._with("output", fields)

    def with_state(self, **channels: Json) -> AgentGraph:
        """State channels, each with a type and perhaps `"reduce"` and `"default"`."""
        return self._with("state", channels)

    def with_spine(self, **keys: Json) -> AgentGraph:
        """The security boundary: `principal`, `permissions`, `tools`, `models`, `expires_in`, `budget`."""
        return self._with("spine", keys)

    def with_defaults(self, **keys: Json) -> AgentGraph:
        """`on_error` of nodes that say none; `retry`, `timeout` and `deadline` where node and agent say nothing."""
        made = self
        for name, value in keys.items():
            made = made._put((name,), value, _caller())
        return made

    def add_agent(self, name: str, /, **keys: Json) -> AgentGraph:
        """An agent: `type`, `model`, `prompt`, `role`, `tools`, `max_turns`, .."""
        return self._put(("agents", name), _plain(keys), _caller())

    def add_node(self, name: str, /, **keys: Json) -> AgentGraph:
        """A node with the keys of its type; `for` is written `for_`."""
        return self._put(("nodes", name), _plain(keys), _caller())

    def add_edge(
        self,
        sources: str | Sequence[str],
        targets: str | Sequence[str],
        *,
        when: str | None = None,
        otherwise: bool = False,
        parallel: bool = False,
        join: str | int | None = None,
    ) -> AgentGraph:
        """One line of `edges`, with the options of the YAML form; `otherwise` is `else`."""
        options: dict[str, Json] = {"when": when, "join": join}
        options |= {"else": otherwise or None, "parallel": parallel or None}
        return self._edge(sources, targets, options, _caller())

    def pipeline(self, *nodes: str) -> AgentGraph:
        """Plain edges from each node to the next."""
        made, site = self, _caller()
        for index in range(len(nodes) - 1):
            made = made._edge(nodes[index], nodes[index + 1], {}, site)
        return made

    def parallel(self, from_node: str, *nodes: str, join: str | None = None, need: str | int = "all") -> AgentGraph:
        """A fork into all of these nodes, and with `join` their meeting there: of `all`, `any`, or a number of them."""
        site = _caller()
        made = self._edge(from_node, nodes, {}, site)
        return made if join is None else made._edge(nodes, join, {"join": need}, site)

    def join(self, sources: Sequence[str], target: str, need: str | int = "all") -> AgentGraph:
        """Where branches meet."""
        return self._edge(sources, target, {"join": need}, _caller())

    def finish(self, node: str) -> AgentGraph:
        """A plain edge to the end of the run; a node without edges has one anyway."""
        return self._edge(node, END, {}, _caller())

    def conditional(
        self,
        from_node: str,
        condition: Router,
        true_node: str,
        false_node: str,
        *,
        input: Mapping[str, Json] | None = None,
    ) -> AgentGraph:
        """Go one way or the other, by a CEL condition or by a function of a project file that returns a node's name.

        `input` gives the function its parameters, each a path or `{"value": ..}`; a condition names its paths itself.
        """
        site = _caller()
        if callable(condition) or _is_reference(_text(condition, "the condition", site)):
            return self._routed(from_node, condition, (true_node, false_node), input, site)
        if input is not None:
            message = f"the condition {condition!r} takes no input"
            raise GraphError(message, at=site, do="write the paths into the condition, or name a function")
        made = self._edge(from_node, true_node, {"when": condition}, site)
        return made._edge(from_node, false_node, {"else": True}, site)

    def add_dynamic_router(
        self,
        from_node: str,
        router_func: Router,
        targets: Sequence[str],
        *,
        input: Mapping[str, Json] | None = None,
    ) -> AgentGraph:
        """Have a function of a project file choose among the targets, by returning the name of one.

        `input` gives the function its parameters, each a path or `{"value": ..}`.
        """
        return self._routed(from_node, router_func, targets, input, _caller())

    def add_guardrail(self, id: str, /, *, on: str, when: str, action: str, at: str = "before") -> AgentGraph:
        """A rule over telemetry or content."""
        given: Json = {"id": id, "on": on, "at": at, "when": when, "action": action}
        return self._append("guardrails", given, _caller())

    def _routed(
        self, node: str, router: Router, targets: Sequence[str], given: Mapping[str, Json] | None, site: str
    ) -> AgentGraph:
        name = f"{_text(node, 'the name of a node', site)}_router"
        keys: dict[str, Json] = {"type": "router", "function": _reference(router, site)}
        if given is not None:
            keys["input"] = _mapped(given)
        _names(targets, site)
        made = self._put(("nodes", name), keys, site)._edge(node, name, {}, site)
        # plain edges: of conditions the last would have to be an else, which takes whatever the function says
        for target in [targets] if isinstance(targets, str) else targets:
            made = made._edge(name, target, {}, site)
        return made

    def _edge(
        self, sources: str | Sequence[str], targets: str | Sequence[str], options: Mapping[str, Json], site: str
    ) -> AgentGraph:
        text = f"{_names(sources, site)} -> {_names(targets, site)}"
        given = {name: value for name, value in options.items() if value is not None}
        line: Json = text
        if given:
            line = {text: cast("Json", given)}
        return self._append("edges", line, site)

    def _with(self, section: str, fields: Mapping[str, Json]) -> AgentGraph:
        made, site = self, _caller()
        for name, value in fields.items():
            made = made._put((section, name), value, site)
        return made

    def _append(self, section: str, value: Json, site: str) -> AgentGraph:
        raw = copy.deepcopy(self._raw)
        lines = raw.setdefault(section, [])
        assert isinstance(lines, list)
        lines.append(_checked(value, (section, len(lines)), site))
        return self._made(raw, (section, len(lines) - 1), site)

    def _put(self, path: tuple[str, ...], value: Json, site: str) -> AgentGraph:
        _text(path[-1], "a name", site)
        raw = copy.deepcopy(self._raw)
        above: dict[str, Json] = raw
        for name in path[:-1]:
            above = cast("dict[str, Json]", above.setdefault(name, {}))
        if path[-1] in above:
            raise GraphError(f"{dotted(path)} is there already", at=site, do="give it another name, or write it once")
        above[path[-1]] = _checked(value, path, site)
        return self._made(raw, path, site)

    def _made(self, raw: dict[str, Json], path: Path, site: str) -> AgentGraph:
        return _of(raw, cast("CallSites", self.places).with_site(path, site))


def read_graph(text: str | bytes, file: str) -> AgentGraph:
    """The graph that a YAML (or JSON) text holds; `file` names it in complaints. Raises Complaints or BadFile."""
    raw, places = read_source(text, file)
    return _of(raw, CallSites(places, {}))


def _of(raw: dict[str, Json], sites: CallSites) -> AgentGraph:
    made = AgentGraph.model_construct(**_parts(raw, sites))
    made._raw = raw
    return made


def _parts(raw: dict[str, Json], sites: CallSites) -> dict[str, Any]:
    """The graph's fields as the YAML reader gives them. Raises Complaints with the call sites."""
    read, faults = read_document(copy.deepcopy(raw), sites)
    faults.raise_any()
    assert read is not None
    return {name: getattr(read, name) for name in authored.AgentGraph.model_fields}


def _checked(value: object, path: Path, site: str) -> Json:
    """A copy, as YAML would have given it. Raises GraphError for what no file can say."""
    try:
        return check_value(_listed(value), at=dotted(path))
    except BadJson as error:
        do = "give text, numbers, True, False, None, lists and dicts whose keys are text"
        raise GraphError(str(error), at=site, do=do) from None


def _listed(value: object, room: int = MAX_DEPTH) -> object:
    """With lists for tuples. What is nested deeper than any file is left for `check_value` to complain about."""
    if room < 0:
        return value
    if isinstance(value, list | tuple):
        return [_listed(item, room - 1) for item in value]
    return {name: _listed(item, room - 1) for name, item in value.items()} if isinstance(value, dict) else value


def _plain(keys: Mapping[str, Json]) -> Json:
    return {name.rstrip("_"): value for name, value in keys.items()}


def _names(given: object, site: str) -> str:
    """One side of an edge. Raises GraphError for what is neither a name nor several."""
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return ", ".join(_text(name, "the name of a node", site) for name in given)
    return _text(given, "the name of a node", site, "give a name, or a list of names")


def _mapped(given: object) -> Json:
    """A dict of any mapping; what is none is complained about where it is read."""
    return cast("Json", dict(given) if isinstance(given, Mapping) else given)


def _text(given: object, what: str, site: str, do: str = "write it as a text") -> str:
    if not isinstance(given, str):
        raise GraphError(f"{what} is a text, no {type(given).__name__}: {given!r}", at=site, do=do)
    return given


def _is_reference(text: str) -> bool:
    return text.partition(":")[0].endswith(".py")


def _reference(router: Router, site: str) -> str:
    """How a node names a function: its project file from `tools/` on, and its name."""
    if isinstance(router, str):
        return router
    code = getattr(router, "__code__", None)
    name = getattr(router, "__qualname__", "")
    if not isinstance(code, CodeType) or not name.isidentifier():
        message = f"{name or router!r} is no plain function of a file"
        raise GraphError(message, at=site, do="write it as a function in tools/FILE.py, not as a lambda or a method")
    file = code.co_filename.replace("\\", "/")
    _, found, rest = file.rpartition("/tools/")
    if not found:
        message = f"function {name!r} stands in {file!r}, which is no project file"
        raise GraphError(message, at=site, do="move it to tools/FILE.py of the project")
    return f"tools/{rest}:{name}"


def _caller() -> str:
    """The file and line outside of this module that called the builder."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return "graph" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
