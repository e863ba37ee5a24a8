"""`rules`: a value chosen by conditions, the first that is true, else the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vertebra.compiler.conditions import Conditions
from vertebra.compiler.scope import Scope
from vertebra.compiler.site import Site
from vertebra.compiler.types import Shape, Slot, fits
from vertebra.compiler.values import Reader, literal_slot
from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Node, Rule, Value
from vertebra.schemas.places import Path


@dataclass(frozen=True)
class RulesKind:
    keys = frozenset({"rules", "default"})
    has_effect = False

    def result(self, site: Site, scope: Scope) -> Shape | None:
        outcomes = _outcomes(site)
        names = dict.fromkeys(name for outcome in outcomes for name in outcome)
        return {name: _slot([outcome.get(name) for outcome in outcomes], scope) for name in names}

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        if site.node.default is None:
            do = "add default: {FIELD: {value: ...}}"
            site.tell(None, f"none of the rules of node {site.id!r} may match, and it has no default", do)
        _check_types(site, reader.scope)
        rules = []
        for index, rule in enumerate(site.node.rules or ()):
            path = (*site.path, "rules", index)
            when = conditions.compile(rule.when, (*path, "when"), sees_error=reader.sees_error)
            conditions.check_present(when, reader.present, (*path, "when"), f"to node {site.id!r}")
            rules.append(Rule(when=when, then=_values(rule.then, reader, (*path, "then"))))
        default = _values(site.node.default or {}, reader, (*site.path, "default"))
        return Node(id=site.id, type="rules", rules=tuple(rules), default=default)


def _outcomes(site: Site) -> list[Mapping[str, Json]]:
    thens: list[Mapping[str, Json]] = [rule.then for rule in site.node.rules or ()]
    return [*thens, site.node.default or {}]


def _slot(raws: list[Json | None], scope: Scope) -> Slot:
    slots = [None if raw is None else literal_slot(raw, scope) for raw in raws]
    known = [slot.field for slot in slots if slot is not None]
    sure = all(slot is not None and slot.sure for slot in slots)
    return Slot(_common(known), sure)


def _common(fields: list[Field | None]) -> Field | None:
    """The type that all of some types fit into, or None."""
    bare = [None if field is None else field.model_copy(update={"validators": ()}) for field in fields]
    return next((wide for wide in bare if wide is not None and all(_is_part(one, wide) for one in bare)), None)


def _is_part(one: Field | None, wide: Field) -> bool:
    return (one is not None and wide.type != "enum" and fits(one, wide)) or one == wide


def _check_types(site: Site, scope: Scope) -> None:
    """A field of the result has one type, whichever rule matches."""
    outcomes = _outcomes(site)
    for name in dict.fromkeys(name for outcome in outcomes for name in outcome):
        slots = [slot for outcome in outcomes if name in outcome and (slot := literal_slot(outcome[name], scope))]
        known = [slot.field for slot in slots if slot.field is not None]
        if known and _common(list(known)) is None and len({field.type for field in known}) > 1:
            kinds = ", ".join(sorted({field.type for field in known}))
            site.tell(None, f"field {name!r} of node {site.id!r} has several types: {kinds}", "give it one type")


def _values(raw: Mapping[str, Json], reader: Reader, path: Path) -> dict[str, Value]:
    found = {}
    for name, value in raw.items():
        slot = literal_slot(value, reader.scope)
        found[name] = reader.value(value, Slot(None, slot.sure if slot is not None else True), (*path, name))
    return found
