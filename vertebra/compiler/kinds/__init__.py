"""The node types of this version, one module each. A new one is a module here, its test, and its engine case."""

from __future__ import annotations

from collections.abc import Mapping

from vertebra.compiler.kinds.http import HttpKind
from vertebra.compiler.kinds.human import HumanKind
from vertebra.compiler.kinds.model import ModelKind
from vertebra.compiler.kinds.router import RouterKind
from vertebra.compiler.kinds.rules import RulesKind
from vertebra.compiler.kinds.tool import ToolKind
from vertebra.compiler.kinds.wait import WaitKind
from vertebra.compiler.site import Kind
from vertebra.schemas.graph import NodeType

KINDS: Mapping[NodeType, Kind] = {
    "llm": ModelKind("llm"),
    "agent": ModelKind("agent"),
    "tool": ToolKind(),
    "http": HttpKind(),
    "rules": RulesKind(),
    "router": RouterKind(),
    "human": HumanKind(),
    "wait": WaitKind(),
}
LATER = (
    *("sql", "code", "planner", "fsm", "behavior_tree"),
    *("graph", "map", "memory", "notify", "foreign"),
)
"""Node types that the language knows and this version does not offer."""
