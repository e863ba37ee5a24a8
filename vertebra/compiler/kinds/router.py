"""`router`: the next node, chosen by a value (`field` and `routes`) or by a function of a project's file."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from vertebra.compiler.conditions import Conditions
from vertebra.compiler.scope import Scope, Unresolved
from vertebra.compiler.site import Site
from vertebra.compiler.types import Shape, Slot
from vertebra.compiler.values import Reader
from vertebra.policies.fields import nearest
from vertebra.schemas.canonical import digest_of
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import END, REST, Node, Router

_FUNCTION = re.compile(r"(?P<file>(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class RouterKind:
    keys = frozenset({"field", "routes", "function", "input", "retry", "timeout", "deadline"})
    has_effect = True

    def result(self, site: Site, scope: Scope) -> Shape | None:
        return {"next": Slot(Field(type="string", required=True), True)}

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        if site.node.function is not None:
            return _by_function(site, reader)
        return _by_field(site, reader)


def _by_field(site: Site, reader: Reader) -> Node:
    node, routes = site.node, site.node.routes or {}
    if node.field is None or not routes:
        do = "write field: PATH and routes: {VALUE: NODE}, or function: FILE.py:NAME"
        site.tell(None, f"router {site.id!r} does not say how it chooses", do)
    if node.input is not None:
        site.tell("input", f"router {site.id!r} reads its field only", "take input away, or use a function")
    for value, target in routes.items():
        if target not in site.graph.nodes and target != END:
            do = nearest(target, (*site.graph.nodes, END)) or "name a node"
            site.complain((*site.path, "routes", value), f"router {site.id!r} leads to unknown node {target!r}", do)
    values = {} if node.field is None else {"field": reader.value(node.field, Slot(None, True), (*site.path, "field"))}
    _check_choices(site, reader, routes)
    return Node(id=site.id, type="router", values=values, router=Router(routes=routes))


def _check_choices(site: Site, reader: Reader, routes: dict[str, str]) -> None:
    """Where the field's values are known, each has its route, and no route waits for another."""
    try:
        kind = (
            reader.scope.resolve(site.node.field or "").field if reader.scope.is_path(site.node.field or "") else None
        )
    except Unresolved:
        return
    if kind is None or kind.type != "enum":
        return
    missing = [value for value in kind.values if value not in routes and REST not in routes]
    for value in missing:
        do = f"add it to routes, or add '{REST}': NODE for the rest"
        site.tell("routes", f"router {site.id!r} has no route for {value!r}", do)
    for value in routes:
        if value not in kind.values and value != REST:
            do = nearest(value, kind.values) or "take it away"
            site.complain((*site.path, "routes", value), f"{site.node.field!r} is never {value!r}", do)


def _by_function(site: Site, reader: Reader) -> Node:
    node = site.node
    values = {
        name: reader.value(raw, Slot(None, True), (*site.path, "input", name))
        for name, raw in (node.input or {}).items()
    }
    if node.field is not None or node.routes is not None:
        site.tell("function", f"router {site.id!r} has a function and more", "keep the function, and write its edges")
    found = _FUNCTION.fullmatch(node.function or "")
    if found is None:
        site.tell("function", f"{node.function!r} names no function", "write function: tools/routes.py:choose")
        return Node(id=site.id, type="router", values=values)
    text = site.catalogue.files.get(found["file"])
    if text is None:
        do = nearest(found["file"], site.catalogue.files) or "name a file of the project, from its root"
        site.tell("function", f"router {site.id!r}: there is no file {found['file']!r}", do)
        return Node(id=site.id, type="router", values=values)
    _check_function(site, found["file"], found["name"], text, set(values))
    source = digest_of(text.encode())
    return Node(id=site.id, type="router", values=values, router=Router(function=found["name"], source=source))


def _check_function(site: Site, file: str, name: str, text: str, given: set[str]) -> None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # too deep for the parser = MemoryError
        line = getattr(error, "lineno", None) or 1
        site.tell("function", f"{file}:{line}: it is no Python", "mend the file")
        return
    known = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    if name not in known:
        do = nearest(name, known) or "define it at the top of the file"
        site.tell("function", f"router {site.id!r}: {file!r} defines no function {name!r}", do)
        return
    taken = known[name].args
    names = {one.arg for one in (*taken.args, *taken.kwonlyargs)}
    if taken.kwarg is None and given - names:
        odd = ", ".join(sorted(given - names))
        site.tell("input", f"{file}:{known[name].lineno}: {name!r} takes no {odd}", "name its parameters")
    needed = names - {one.arg for one in taken.args[len(taken.args) - len(taken.defaults) :] if taken.defaults}
    needed -= {one.arg for one, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True) if default is not None}
    for missing in sorted(needed - given):
        site.tell(
            "input", f"{file}:{known[name].lineno}: {name!r} needs {missing!r}", f"add input: {{{missing}: PATH}}"
        )
