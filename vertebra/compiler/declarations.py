"""Checks the names that a graph gives, and lowers its state channels."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vertebra.schemas.authored import AgentGraph, AuthoredChannel
from vertebra.schemas.canonical import json_text
from vertebra.schemas.fields import Field, FieldType
from vertebra.schemas.graph import END, Channel, Reducer
from vertebra.schemas.ids import GRAPH_NAME, NODE_ID
from vertebra.schemas.places import Complain

_NUMBER, _MARK = "(0|[1-9][0-9]{0,8})", "[0-9A-Za-z.-]{1,64}"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_MARK})?(\+{_MARK})?")
RESERVED = frozenset(
    # ours, then CEL's words and the functions that a condition may call
    f"{END} input state error tool args "
    "true false null in as break const continue else for function if import let loop package namespace return var void "
    "while has size all exists exists_one map filter int uint double string bytes bool type dyn duration timestamp "
    "matches sum max last count".split()
)
_SHAPE = "use lower-case letters, digits and '_', a letter first, at most 63"
_KEPT_BY: Mapping[Reducer, tuple[FieldType, ...]] = {
    "append": ("list",),
    "merge": ("dict",),
    "sum": ("integer", "float"),
    "max": ("integer", "float"),
}


def check_names(graph: AgentGraph, complain: Complain) -> bool:
    """Whether nodes and channels have names that paths, ids and conditions can be made of."""
    if not GRAPH_NAME.fullmatch(graph.graph):
        do = "use lower-case letters, digits and '-', a letter first"
        complain(("graph",), f"{graph.graph!r} is no name of a graph", do)
    if not _VERSION.fullmatch(graph.version):
        complain(("version",), f"{graph.version!r} is no semantic version", "write version: 1.0.0")
    if not graph.nodes:
        complain(("nodes",), "the graph has no nodes", "add one")
    for name in graph.nodes:
        if not NODE_ID.fullmatch(name):
            complain(("nodes", name), f"{name!r} is no name of a node", _SHAPE)
        elif name in RESERVED:
            complain(("nodes", name), f"{name!r} is a word of the language, no name of a node", "take another name")
    for name in graph.state:
        if not NODE_ID.fullmatch(name):
            complain(("state", name), f"{name!r} is no name of a channel", _SHAPE)
    named = (*graph.nodes, *graph.state)
    return bool(graph.nodes) and not RESERVED & set(graph.nodes) and all(NODE_ID.fullmatch(name) for name in named)


def lower_state(state: Mapping[str, AuthoredChannel], complain: Complain) -> dict[str, Channel]:
    """The channels; a reducer must fit the type that it reduces."""
    found = {}
    for name, channel in state.items():
        kinds = _KEPT_BY.get(channel.reduce, (channel.field.type,))
        if channel.field.type not in kinds:
            message = f"channel {name!r} is a {channel.field.type}, which {channel.reduce!r} cannot reduce"
            complain(("state", name), message, f"{channel.reduce} takes: {', '.join(kinds)}")
        kind = _type_text(channel.field)
        found[name] = Channel(type_json=kind, reduce=channel.reduce, default_json=_default(channel))
    return found


def _type_text(field: Field) -> str:
    return json_text(field.model_dump(mode="json", exclude_defaults=True))


def _default(channel: AuthoredChannel) -> str | None:
    return None if channel.field.default is None else json_text(channel.field.default)
