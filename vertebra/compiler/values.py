"""Lowers the values of `input`, `args`, `then`, `show`, `from` and `write`: a path or `{value: ...}`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vertebra.compiler.presence import Facts
from vertebra.compiler.scope import OWN, Scope, Unresolved, walk
from vertebra.compiler.types import Shape, Slot, fits, literal_field, named
from vertebra.policies.fields import inspect_field, nearest
from vertebra.schemas.authored import AuthoredChannel
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.errors import BadJson
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Value
from vertebra.schemas.places import Complain, Path, dotted
from vertebra.schemas.strict_json import check_value

_NOTHING = Value(json_text="null")
"""Stands for a value that was complained about."""


@dataclass(frozen=True)
class Reader:
    """Who reads values: what is there when it does, and whether `error` is among it."""

    name: str
    scope: Scope
    present: Facts
    sees_error: bool
    complain: Complain

    def values(self, raw: Mapping[str, Json], wanted: Shape, path: Path, what: str) -> dict[str, Value]:
        """The values of declared fields; unknown, missing and misfitting ones are complained about."""
        for name in raw:
            if name not in wanted:
                self.complain((*path, name), f"{what} takes no {name!r}", nearest(name, wanted))
        for name, slot in wanted.items():
            if slot.sure and name not in raw:
                self.complain(path, f"{self.name} does not give {name!r}, which {what} requires", f"add {name}: PATH")
        return {name: self.value(raw[name], slot, (*path, name)) for name, slot in wanted.items() if name in raw}

    def value(self, raw: Json, wanted: Slot, path: Path) -> Value:
        """One value. `wanted.sure` = the reader cannot do without it."""
        if isinstance(raw, dict) and list(raw) == ["value"]:
            return _literal(raw["value"], wanted.field, (*path, "value"), self.complain)
        if isinstance(raw, str) and self.scope.is_path(raw):
            return self._path(raw, wanted, path)
        self.complain(path, f"{_short(raw)} is neither a path nor a literal", self._spellings(raw))
        return _NOTHING

    def _path(self, text: str, wanted: Slot, path: Path) -> Value:
        if text.startswith("error.") and not self.sees_error:
            self.complain(path, f"{self.name} reads {text!r}, but some way to it is no error", _ERROR_ADVICE)
        try:
            found = self.scope.resolve(text)
        except Unresolved as error:
            self.complain(path, f"{text!r}: {error.message}", error.do)
            return _NOTHING
        if not fits(found.field, wanted.field):
            self.complain(path, f"{text!r} is {named(found.field)}, wanted is {named(wanted.field)}")
        if wanted.sure:
            self._check_sure(text, found.sure, found.needs, path)
        return Value(path=text, required=wanted.sure)

    def _check_sure(self, text: str, sure: bool, needs: str | None, path: Path) -> None:
        if needs is not None and needs not in self.present:
            what = f"channel {needs.removeprefix('state.')!r}" if needs.startswith("state.") else f"node {needs!r}"
            do = "give the channel a default, or write it on every way" if needs.startswith("state.") else _WAY_ADVICE
            self.complain(path, f"{self.name} requires {text!r}, but some way to it leaves out {what}", do)
        elif not sure:
            do = "declare it required there, or give it a default"
            self.complain(path, f"{self.name} requires {text!r}, which is optional where it is declared", do)

    def _spellings(self, raw: Json) -> str:
        known = ("input", "state", *self.scope.results)
        head, dot, rest = raw.partition(".") if isinstance(raw, str) else ("", "", "")
        close = nearest(head, known) if dot and rest.isidentifier() else None
        guess = f"{close[len('did you mean ') + 1 : -2]}.{rest}" if close and close.startswith("did") else "input.NAME"
        return f"write a path such as {guess}, or the literal {{value: {_short(raw)}}}"


_ERROR_ADVICE = "only a node that on_error edges alone lead to may read error"
_WAY_ADVICE = "lead every way through it, or pass the value through a state channel with a default"


def _short(raw: Json) -> str:
    try:
        text = json_text(raw)
    except ValueError:
        text = repr(raw)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _literal(value: Json, wanted: Field | None, path: Path, complain: Complain) -> Value:
    try:
        check_value(value)
    except BadJson as error:
        complain(path, error.message)
        return _NOTHING
    if wanted is not None:
        for problem in inspect_field(wanted, value):
            where = f"the literal, at {dotted(problem.path)}," if problem.path else "the literal"
            complain(path, f"{where} {problem.message}")
    return Value(json_text=json_text(value))


def writes(
    raw: Mapping[str, Json], result: Shape | None, state: Mapping[str, AuthoredChannel], path: Path, complain: Complain
) -> dict[str, Value]:
    """What a node writes on success: channel to a field of its own result (None = not known), or a literal."""
    found = {}
    for name, source in raw.items():
        channel = state.get(name)
        if channel is None:
            do = nearest(name, state) or "declare it in state"
            complain((*path, name), f"there is no channel {name!r} to write", do)
        else:
            found[name] = _write(name, source, channel, result, (*path, name), complain)
    return found


def _write(
    name: str, raw: Json, channel: AuthoredChannel, result: Shape | None, path: Path, complain: Complain
) -> Value:
    wanted = channel.field.item_type if channel.reduce == "append" else channel.field
    if isinstance(raw, dict) and list(raw) == ["value"]:
        return _literal(raw["value"], wanted, (*path, "value"), complain)
    if not isinstance(raw, str):
        do = f"write {name}: FIELD of the own result, or {name}: {{value: {_short(raw)}}}"
        complain(path, f"{_short(raw)} is neither a field nor a literal", do)
        return _NOTHING
    if result is None:
        return Value(path=raw)
    try:
        slot = walk(result, raw.split("."), OWN)
    except Unresolved as error:
        complain(path, error.message, error.do or f"for a literal write {{value: {_short(raw)}}}")
        return _NOTHING
    if not fits(slot.field, wanted):
        taken = f"{named(wanted)} as an item" if channel.reduce == "append" else named(wanted)
        complain(path, f"{raw!r} is {named(slot.field)}, channel {name!r} takes {taken}")
    return Value(path=raw, required=slot.sure)


def literal_slot(raw: Json, scope: Scope) -> Slot | None:
    """The type that an authored value gives, without complaints; None where it cannot be told."""
    if isinstance(raw, dict) and list(raw) == ["value"]:
        return Slot(literal_field(raw["value"]), True)
    if not (isinstance(raw, str) and scope.is_path(raw)):
        return None
    try:
        found = scope.resolve(raw)
    except Unresolved:
        return None
    return Slot(found.field, found.sure)
