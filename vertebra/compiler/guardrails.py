"""Lowers guardrails: rules over telemetry and content that the gate checks around the calls of a node."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vertebra.compiler.conditions import Conditions
from vertebra.compiler.kinds import KINDS
from vertebra.compiler.presence import Presence
from vertebra.policies.fields import nearest
from vertebra.schemas.authored import AgentGraph, AuthoredGuardrail
from vertebra.schemas.graph import Condition, Guardrail, NodeType
from vertebra.schemas.places import Complain, Path

_ANY = "*"
_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def lower_guardrails(
    graph: AgentGraph, kinds: Mapping[str, NodeType], presence: Presence, conditions: Conditions, complain: Complain
) -> tuple[Guardrail, ...]:
    """The guardrails in the order of the file; each is checked at every node that it stands on."""
    found: list[Guardrail] = []
    for index, guardrail in enumerate(graph.guardrails):
        path: Path = ("guardrails", index)
        _check_id(guardrail, [other.id for other in found], path, complain)
        _check_place(guardrail, graph, kinds, path, complain)
        when = conditions.compile_with_telemetry(guardrail.when, (*path, "when"))
        _check_present(guardrail, when, kinds, presence, conditions, (*path, "when"))
        found.append(Guardrail(id=guardrail.id, on=guardrail.on, at=guardrail.at, when=when, action=guardrail.action))
    return tuple(found)


def _check_id(guardrail: AuthoredGuardrail, taken: list[str], path: Path, complain: Complain) -> None:
    if not _ID.fullmatch(guardrail.id):
        do = "use lower-case letters, digits, '-' and '_', a letter first"
        complain((*path, "id"), f"{guardrail.id!r} is no id of a guardrail", do)
    elif guardrail.id in taken:
        complain((*path, "id"), f"two guardrails have the id {guardrail.id!r}", "give each its own")


def _check_place(
    guardrail: AuthoredGuardrail, graph: AgentGraph, kinds: Mapping[str, NodeType], path: Path, complain: Complain
) -> None:
    node = guardrail.on
    if node != _ANY and node not in graph.nodes:
        do = nearest(node, (*graph.nodes, _ANY))
        complain((*path, "on"), f"guardrail {guardrail.id!r} is on unknown node {node!r}", do)
    elif node in kinds and not KINDS[kinds[node]].has_effect:
        message = f"guardrail {guardrail.id!r} is on node {node!r} of type {kinds[node]}, which makes no call"
        complain((*path, "on"), message, "put it on a node of type llm, agent or tool")


def _check_present(
    guardrail: AuthoredGuardrail,
    when: Condition,
    kinds: Mapping[str, NodeType],
    presence: Presence,
    conditions: Conditions,
    path: Path,
) -> None:
    for node, kind in kinds.items():
        if guardrail.on in (_ANY, node) and KINDS[kind].has_effect:
            own = frozenset((node,)) if guardrail.at == "after" else frozenset[str]()
            conditions.check_present(when, presence.at(node) | own, path, f"to node {node!r}")
