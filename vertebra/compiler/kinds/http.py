"""`http`: one request to a host that operator and graph allow, and its checked answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vertebra.compiler.approvals import lower_approval
from vertebra.compiler.conditions import Conditions
from vertebra.compiler.reach import hosts_of
from vertebra.compiler.scope import Scope
from vertebra.compiler.site import Site
from vertebra.compiler.types import Shape, Slot
from vertebra.compiler.values import Reader
from vertebra.policies.hosts import covers, target_of
from vertebra.policies.secret_refs import is_reference, without_reference
from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Effect, HttpCall, Node, Permission, Value

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SAFE = ("GET", "HEAD")
PERMISSION: Permission = "execute_tools"
KEY_HEADER = "Idempotency-Key"
KEY = "call"
"""What the header must hold for the call id to be sent as a key that the host honours."""
_PLACE = re.compile(r"\{([^{}]*)\}")
_STATUS = re.compile(r"[1-5](?:[0-9]{2}|xx)")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


@dataclass(frozen=True)
class HttpKind:
    keys = frozenset(
        {"method", "address", "headers", "body", "expect_status", "retry", "timeout", "deadline", "approval"}
    )
    has_effect = True

    def result(self, site: Site, scope: Scope) -> Shape | None:
        status, headers = Field(type="integer", required=True), Field(type="dict", required=True)
        return {"status": Slot(status, True), "headers": Slot(headers, True), "body": Slot(None, True)}

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        method = _method(site)
        if site.graph.spine is None or PERMISSION not in site.graph.spine.permissions:
            message = f"node {site.id!r} sends requests, which needs the permission {PERMISSION!r}"
            site.tell(None, message, "add it to spine.permissions")
        address, values = _address(site, reader)
        headers, given = _headers(site, reader)
        body = _body(site, reader)
        if body and method in SAFE:
            site.tell("body", f"node {site.id!r} sends a body with {method}", "take it away, or use POST")
        approval = lower_approval(site, conditions, sees_error=reader.sees_error)
        effect = _effect(site, method, headers)
        if effect == "irreversible" and approval is None:
            do = (
                f"add the header {KEY_HEADER}: {{value: {KEY}}} if the host honours it; or approval: {{when: ..., "
                "assign: [ROLE]}, or approval: {never: REASON}"
            )
            site.tell(None, f"node {site.id!r} sends {method}, which may happen twice, without a key or approval", do)
        call = HttpCall(method=method, address=address, headers=headers, expect=_expected(site))
        return Node(
            id=site.id, type="http", http=call, effect=effect, values={**values, **given, **body}, approval=approval
        )


def _method(site: Site) -> str:
    method = site.node.method or "GET"
    if method not in METHODS:
        site.tell("method", f"node {site.id!r} has the method {method!r}", f"there are: {', '.join(METHODS)}")
    return method


def _effect(site: Site, method: str, headers: Mapping[str, str]) -> Effect:
    """A request that changes something is safe to repeat only under a key that the host honours."""
    if method in SAFE:
        return "pure"
    key = next((value for name, value in headers.items() if name.lower() == KEY_HEADER.lower()), None)
    if key is not None and key != KEY:
        do = f"write {KEY_HEADER}: {{value: {KEY}}}, or leave it out: the call id is always sent"
        site.tell("headers", f"the key of node {site.id!r} is not its call's", do)
    return "irreversible" if key is None else "keyed"


def _address(site: Site, reader: Reader) -> tuple[str | None, dict[str, Value]]:
    raw, path = site.node.address, (*site.path, "address")
    written = raw.get("value") if isinstance(raw, dict) and list(raw) == ["value"] else raw
    if raw is None:
        site.tell(None, f"node {site.id!r} does not say where it sends to", "add address: https://HOST/PATH")
        return None, {}
    if isinstance(written, str) and "://" in written:
        return _template(site, written, reader)
    if not (site.graph.spine and site.graph.spine.hosts):
        do = "add spine.hosts: [HOST], or write the address out"
        site.tell("address", f"node {site.id!r} takes its address from the run, and the spine names no hosts", do)
    return None, {"address": reader.value(raw, Slot(Field(type="string"), True), path)}


def _template(site: Site, text: str, reader: Reader) -> tuple[str | None, dict[str, Value]]:
    target, path = target_of(text), (*site.path, "address")
    values: dict[str, Value] = {}

    def numbered(found: re.Match[str]) -> str:
        name = f"address.{len(values)}"
        values[name] = reader.value(found[1], Slot(None, True), path)
        return f"{{{name.partition('.')[2]}}}"

    lowered = _PLACE.sub(numbered, text)
    if target is None:
        do = "write https://HOST/PATH; {input.NAME} may stand after the host"
        site.complain(path, f"node {site.id!r}: {text!r} is no address of a known host", do)
    elif not covers(hosts_of(site.graph), target):
        site.complain(path, f"node {site.id!r} sends to {str(target)!r}, outside spine.hosts", "add it there")
    return lowered, values


def _headers(site: Site, reader: Reader) -> tuple[dict[str, str], dict[str, Value]]:
    """Literals, with their references to secrets; and what the run gives."""
    literals: dict[str, str] = {}
    given: dict[str, Value] = {}
    for name, raw in (site.node.headers or {}).items():
        path = (*site.path, "headers", name)
        if not _NAME.fullmatch(name):
            site.complain(path, f"{name!r} is no name of a header", "use letters, digits and '-'")
        elif isinstance(raw, str) and is_reference(raw):
            literals[name] = raw
        elif isinstance(raw, dict) and list(raw) == ["value"]:
            literals[name] = _literal(site, name, raw["value"])
        else:
            given[f"header.{name}"] = reader.value(raw, Slot(Field(type="string"), True), path)
    return literals, given


def _literal(site: Site, name: str, value: Json) -> str:
    if not isinstance(value, str):
        site.complain((*site.path, "headers", name), f"the header {name!r} is no text", "put it in quotes")
        return ""
    if "secret://" in without_reference(value):
        do = "write {value: 'Bearer secret://env/NAME'}: one reference, at the end"
        site.complain((*site.path, "headers", name), f"the header {name!r} holds a broken reference to a secret", do)
    return value


def _body(site: Site, reader: Reader) -> dict[str, Value]:
    raw, path = site.node.body, (*site.path, "body")
    if raw is None:
        return {}
    if isinstance(raw, dict) and list(raw) != ["value"]:
        return {f"body.{name}": reader.value(item, Slot(None, False), (*path, name)) for name, item in raw.items()}
    return {"body": reader.value(raw, Slot(None, True), path)}


def _expected(site: Site) -> tuple[str, ...]:
    raw = site.node.expect_status
    listed = [] if raw is None else raw if isinstance(raw, list) else [raw]
    found = tuple(dict.fromkeys(str(status) for status in listed))
    wrong = [status for status in found if not _STATUS.fullmatch(status)]
    if wrong or raw == []:
        do = "write expect_status: 200, or [200, 404], or 2xx"
        site.tell("expect_status", f"{', '.join(wrong) or 'nothing'} is no status of an answer", do)
    return found or HttpCall.model_fields["expect"].default
