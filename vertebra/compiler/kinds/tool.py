"""`tool`: one call of a tool with arguments from the run."""

from __future__ import annotations

from dataclasses import dataclass

from vertebra.compiler.approvals import lower_approval
from vertebra.compiler.conditions import Conditions
from vertebra.compiler.scope import Scope
from vertebra.compiler.site import Site
from vertebra.compiler.types import Shape, Slot, schema_shape
from vertebra.compiler.values import Reader
from vertebra.policies.fields import nearest
from vertebra.schemas.graph import Node


@dataclass(frozen=True)
class ToolKind:
    keys = frozenset({"tool", "args", "retry", "timeout", "deadline", "approval"})
    has_effect = True

    def result(self, site: Site, scope: Scope) -> Shape | None:
        return None if site.tool is None else schema_shape(site.tool.output_schema)

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        name, raw = site.node.tool, site.node.args or {}
        tool = site.tool
        if name is None:
            site.tell(None, f"node {site.id!r} does not name its tool", "add tool: NAME")
        elif tool is None:
            do = nearest(name, site.catalogue.tools) or "list them with: vertebra tools list"
            site.tell("tool", f"node {site.id!r} uses unknown tool {name!r}", do)
        wanted = schema_shape(tool.input_schema) if tool is not None else {key: Slot(None, False) for key in raw}
        values = reader.values(raw, wanted, (*site.path, "args"), f"tool {name!r}")
        approval = lower_approval(site, conditions, sees_error=reader.sees_error)
        effect = tool.effect if tool is not None else None
        return Node(id=site.id, type="tool", tool=name, effect=effect, values=values, approval=approval)
