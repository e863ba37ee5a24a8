"""`llm` and `agent`: a prompt's input goes in, its output comes back; an agent may call tools in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vertebra.compiler.approvals import lower_approval
from vertebra.compiler.conditions import Conditions
from vertebra.compiler.scope import Scope
from vertebra.compiler.site import Site
from vertebra.compiler.types import Shape, Slot, shape
from vertebra.compiler.values import Reader
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Node
from vertebra.schemas.prompt import Prompt

_TEXT: Shape = {"text": Slot(Field(type="string", required=True), True)}
"""The result of a prompt that declares no output."""


@dataclass(frozen=True)
class ModelKind:
    type: Literal["llm", "agent"]
    keys = frozenset({"agent", "input", "retry", "timeout", "deadline", "approval"})
    has_effect = True

    def result(self, site: Site, scope: Scope) -> Shape | None:
        prompt = _prompt(site)
        return None if prompt is None else shape(prompt.output) or _TEXT

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        prompt = _prompt(site)
        raw = site.node.input or {}
        values = {}
        if prompt is not None:
            values = reader.values(raw, shape(prompt.input), (*site.path, "input"), f"prompt {prompt.name!r}")
        approval = lower_approval(site, conditions, sees_call=self.type == "agent", sees_error=reader.sees_error)
        return Node(id=site.id, type=self.type, agent=site.node.agent, values=values, approval=approval)


def _prompt(site: Site) -> Prompt | None:
    return site.catalogue.prompts.get(site.agent.prompt) if site.agent is not None else None
