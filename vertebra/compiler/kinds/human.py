"""`human`: a question to a person, with a form for the answer. It authorises nothing."""

from __future__ import annotations

from dataclasses import dataclass

from vertebra.compiler.approvals import lower_question
from vertebra.compiler.conditions import Conditions
from vertebra.compiler.scope import Scope
from vertebra.compiler.site import Site
from vertebra.compiler.types import Shape, Slot
from vertebra.compiler.values import Reader
from vertebra.policies.declared import read_fields
from vertebra.schemas.fields import Field, fields_text
from vertebra.schemas.graph import Node


@dataclass(frozen=True)
class HumanKind:
    keys = frozenset({"show", "form", "assign", "backup", "escalate_after", "remind", "expires_in"})
    has_effect = False

    def result(self, site: Site, scope: Scope) -> Shape | None:
        form = read_fields(site.node.form, (*site.path, "form"), site.complain)
        text = Field(type="string", required=True)
        answer = {"answer": Slot(Field(type="dict", required=True, fields=form), True)} if form else {}
        return {"decision": Slot(text, True), "decided_by": Slot(text, True), **answer}

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        form = read_fields(site.node.form, (*site.path, "form"), site.complain)
        shown = site.node.show or {}
        values = {name: reader.value(raw, Slot(None, False), (*site.path, "show", name)) for name, raw in shown.items()}
        if not shown:
            site.tell(None, f"node {site.id!r} shows nothing to the person it asks", "add show: {NAME: PATH}")
        form_json = fields_text(form) if form else None
        return Node(id=site.id, type="human", values=values, form_json=form_json, approval=lower_question(site))
