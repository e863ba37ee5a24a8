"""`wait`: until a time, for a while, or for an event that somebody sends to the run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vertebra.compiler.conditions import Conditions
from vertebra.compiler.durations import DURATION, seconds
from vertebra.compiler.scope import Scope
from vertebra.compiler.site import Site
from vertebra.compiler.types import Shape, Slot
from vertebra.compiler.values import Reader
from vertebra.engine.pauses import instant
from vertebra.policies.declared import read_fields
from vertebra.schemas.canonical import json_text
from vertebra.schemas.fields import Field, fields_text
from vertebra.schemas.graph import Node, Pause, Value

_EVENT = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_TEXT = Slot(Field(type="string", required=True), True)
_TIME = "write a time with its zone, such as 2026-12-24T18:00:00Z, or a path such as input.due"


@dataclass(frozen=True)
class WaitKind:
    keys = frozenset({"for", "until", "event", "form", "expires_in"})
    has_effect = False

    def result(self, site: Site, scope: Scope) -> Shape | None:
        if site.node.event is None:
            return {"at": _TEXT}
        form = read_fields(site.node.form, (*site.path, "form"), site.complain)
        payload = Field(type="dict", required=True, fields=form or None)
        return {"at": _TEXT, "payload": Slot(payload, True), "sent_by": _TEXT}

    def lower(self, site: Site, reader: Reader, conditions: Conditions) -> Node:
        node = site.node
        given = [key for key in ("for", "until", "event") if key in node.written]
        if len(given) != 1:
            what = f"both {given[0]} and {given[1]}" if given else "nothing to wait for"
            site.tell(None, f"node {site.id!r} has {what}", "write one of: for: 2h, until: input.due, event: paid")
        for key in ("form", "expires_in"):
            if key in node.written and node.event is None:
                site.tell(key, f"{key} belongs to a wait for an event", "add event: NAME, or take it away")
        if node.event is not None and not _EVENT.fullmatch(node.event):
            site.tell("event", f"{node.event!r} is no name of an event", "use lower-case letters, digits and '_.-'")
        form = read_fields(node.form, (*site.path, "form"), site.complain)
        length = _length(site, "for", node.for_) or _length(site, "expires_in", node.expires_in)
        until = None if node.until is None else _until(site, reader)
        pause = Pause(for_s=length, until=until, event=node.event)
        return Node(id=site.id, type="wait", pause=pause, form_json=fields_text(form) if form else None)


def _length(site: Site, key: str, text: str | None) -> int | None:
    found = None if text is None else seconds(text)
    if text is not None and found is None:
        site.tell(key, f"{text!r} is no duration of whole seconds", DURATION)
    return found


def _until(site: Site, reader: Reader) -> Value:
    raw = site.node.until
    path = (*site.path, "until")
    text = raw["value"] if isinstance(raw, dict) and list(raw) == ["value"] else raw
    if isinstance(text, str) and text[:1].isdigit():
        if instant(text) is None:
            site.complain(path, f"{text!r} is no time", _TIME)
        return Value(json_text=json_text(text))
    return reader.value(raw, _TEXT, path)
