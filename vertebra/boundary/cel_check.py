"""Checks an author's condition against the declared types, and gives the form that is evaluated.

Pure, and in this process: CEL's parser refuses anything nested deeper than 32, so that no text of 4 kB can hurt it (the
evaluation of an expression can, which is why that happens in a child process, `cel_child`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cel_expr_python import cel

from vertebra.boundary.cel_text import PathUse, Token, calls, lengths, path_uses, replaced, tokens
from vertebra.policies.fields import nearest
from vertebra.schemas.fields import Field

MAX_SOURCE = 4000
Declared: TypeAlias = Mapping[str, Field | None]
"""Every value that a condition may name, by dotted path (`input.ticket`, `state.total`, `classify.kind`, `tool`).

A `dict` field brings its own fields along. None is a value of unknown type, checked only when it is evaluated.
"""
_AGGREGATES = ("sum", "max", "last", "count")
_INTEGER, _FLOAT = Field(type="integer"), Field(type="float")
_MEASURES = {"tokens": _INTEGER, "cost_usd": _FLOAT, "latency_ms": _INTEGER, "visits": _INTEGER}
TELEMETRY: Mapping[str, Field] = {
    f"{aggregate}_{measure}": _INTEGER if aggregate == "count" else field
    for aggregate in _AGGREGATES
    for measure, field in _MEASURES.items()
}
"""The names into which `lower_telemetry` turns `sum(tokens)` and its like, with their types."""


@dataclass(frozen=True)
class CheckedCondition:
    reads: tuple[str, ...]
    """The declared paths that it may read, sorted."""
    source: str
    """What is evaluated: over nested maps, with `.length` spelt `.size()`."""


@dataclass(frozen=True)
class ConditionComplaint:
    message: str
    near: str
    """The part of the text that the complaint is about."""
    do: str | None = None


@dataclass(frozen=True)
class Lowered:
    source: str
    names: tuple[str, ...]
    """The telemetry that it reads, such as `sum_tokens`, sorted."""


def check_condition(source: str, declared: Declared) -> CheckedCondition | ConditionComplaint:
    """Check that the text is a condition (true or false) over declared values. Pure; reports the first mistake."""
    if len(source) > MAX_SOURCE:
        return ConditionComplaint(f"the condition is longer than {MAX_SOURCE} characters", source[:40])
    if (odd := _odd_text(source)) is not None:
        return odd
    tree = _tree(declared)
    uses = [use for use in path_uses(source) if not use.local]
    found: list[_Found] = []
    for use in uses:
        resolved = _resolve(use, tree)
        if isinstance(resolved, ConditionComplaint):
            return resolved
        found.append(resolved)
    complaint = _odd_choice(source, found) or _compile(_for_check(source, found), source, found)
    if complaint is not None:
        return complaint
    return CheckedCondition(tuple(sorted({item.path for item in found})), _for_evaluation(source, found))


def lower_telemetry(source: str) -> Lowered | ConditionComplaint:
    """Turn `sum(tokens)` and its like into plain names, each as long as what it replaces."""
    words = tokens(source[:MAX_SOURCE])
    changes, names = [], set()
    for at in calls(words, _AGGREGATES):
        measure = words[at + 2].text if at + 2 < len(words) else ""
        name = f"{words[at].text}_{measure}"
        if name not in TELEMETRY or not (at + 3 < len(words) and words[at + 3].text == ")"):
            do = f"write: {words[at].text}(NAME), with NAME one of {', '.join(_MEASURES)}"
            return ConditionComplaint(f"{words[at].text}() is over the run's telemetry", _near(source, words[at]), do)
        names.add(name)
        start, end = words[at].start, words[at + 3].end
        changes.append((start, end, name.ljust(end - start)))
    return Lowered(replaced(source, changes), tuple(sorted(names)))


@dataclass
class _Branch:
    """One name of the declared paths: its own type, where it is a value, and the names below it."""

    below: dict[str, _Branch]
    known: bool = False
    field: Field | None = None

    @property
    def is_open(self) -> bool:
        """Whether names that nobody declared may follow: an object without declared fields, or an unknown type."""
        if not self.known or self.below:
            return False
        return self.field is None or (self.field.type == "dict" and self.field.fields is None)


@dataclass(frozen=True)
class _Found:
    """A path of the text and the declared value that it reads."""

    use: PathUse
    path: str
    field: Field | None
    length: bool
    """The last name is `.length`, not a field."""


def _tree(declared: Declared) -> _Branch:
    top = _Branch({})
    for path, field in declared.items():
        branch = top
        for name in path.split("."):
            branch = branch.below.setdefault(name, _Branch({}))
        _fill(branch, field)
    return top


def _fill(branch: _Branch, field: Field | None) -> None:
    branch.known, branch.field = True, field
    for name, inner in ((field.fields or {}) if field else {}).items():
        _fill(branch.below.setdefault(name, _Branch({})), inner)


def _resolve(use: PathUse, tree: _Branch) -> _Found | ConditionComplaint:
    branch = tree
    for depth, name in enumerate(use.names):
        if name in branch.below:
            branch = branch.below[name]
            continue
        path = ".".join(use.names[:depth])
        if name == "length" and depth == len(use.names) - 1 and branch.known and use.has is None:
            return _Found(use, path, branch.field, length=True)
        if branch.is_open:
            return _Found(use, path, branch.field, length=use.names[-1] == "length" and use.has is None)
        return _unknown(use, depth, branch)
    if not branch.known:
        do = f"name one of: {', '.join(f'{use.dotted}.{name}' for name in branch.below)}"
        return ConditionComplaint(f"{use.dotted!r} is no value", use.dotted, do)
    if use.has and len(use.names) == 1:
        return ConditionComplaint(f"{use.dotted!r} is always present", f"has({use.dotted})", "take the has() away")
    return _Found(use, use.dotted, branch.field, length=False)


def _unknown(use: PathUse, depth: int, branch: _Branch) -> ConditionComplaint:
    before = ".".join(use.names[:depth])
    name = use.names[depth]
    where = f"{before!r} has no field {name!r}" if before else f"unknown name {name!r}"
    prefix = f"{before}." if before else ""
    return ConditionComplaint(where, use.dotted, nearest(prefix + name, (prefix + known for known in branch.below)))


def _odd_text(source: str) -> ConditionComplaint | None:
    """What CEL would take although it means something else here, or refuse in a way that helps nobody."""
    words = tokens(source)
    for at in calls(words, _AGGREGATES):
        message = f"{words[at].text}() over telemetry stands in guardrails and policy rules only"
        return ConditionComplaint(message, _near(source, words[at]), "an edge would decide otherwise after a resume")
    for at, word in enumerate(words):
        if word.text == "." and (at == 0 or (words[at - 1].kind == "mark" and words[at - 1].text not in ")]}")):
            return ConditionComplaint("a path begins with a dot", _near(source, word), "take the dot away")
        if not word.text.isprintable():
            try:
                word.text.encode()
            except UnicodeEncodeError:
                return ConditionComplaint("the text holds half a surrogate pair", "", "take the character out")
    return None


def _odd_choice(source: str, found: list[_Found]) -> ConditionComplaint | None:
    """A comparison of an enum with a text that it never is."""
    words = tokens(source)
    for item in found:
        field = item.field
        if field is None or field.type != "enum" or item.length:
            continue
        after = item.use.first + 2 * len(item.use.names) - 1
        for operator, other in ((after, after + 1), (item.use.first - 1, item.use.first - 2)):
            text = _compared(words, operator, other)
            if text is not None and text not in field.values:
                message = f"{item.path!r} is never {text!r}"
                return ConditionComplaint(message, words[other].text, nearest(text, field.values))
    return None


def _compared(words: list[Token], operator: int, other: int) -> str | None:
    if not (0 <= operator < len(words) and 0 <= other < len(words)) or words[operator].text not in ("==", "!="):
        return None
    text = words[other].text
    return text[1:-1] if re.fullmatch(r"'[^'\\]*'|\"[^\"\\]*\"", text) else None


def _lengths(source: str, found: list[_Found]) -> list[tuple[int, int, str]]:
    """The changes that spell every `.length` as `.size()`, which is as long."""
    local = [
        use for use in path_uses(source) if use.local and use.names[1:] and use.names[-1] == "length" and not use.has
    ]
    uses = [item.use for item in found if item.length] + local
    return lengths(source) + [(use.end - len("length"), use.end, "size()") for use in uses]


def _for_check(source: str, found: list[_Found]) -> str:
    """`has(path)` is true once the path is known; every change keeps the length, so that columns stay right."""
    changes = _lengths(source, found)
    for item in found:
        if item.use.has is not None:
            start, end = item.use.has
            changes.append((start, end, "true".ljust(end - start)))
    return replaced(source, changes)


def _for_evaluation(source: str, found: list[_Found]) -> str:
    """`has(a.b.c)` asks for each level in turn, because an absent `a.b` is otherwise an error."""
    changes = _lengths(source, found)
    for item in found:
        names = item.use.names
        if item.use.has is not None:
            levels = [f"has({'.'.join(names[: end + 1])})" for end in range(1, len(names))]
            changes.append((*item.use.has, f"({' && '.join(levels)})"))
    return replaced(source, changes)


def _compile(text: str, source: str, found: list[_Found]) -> ConditionComplaint | None:
    try:
        env = cel.NewEnv(variables={item.path: _cel_type(item.field) for item in found})
        kind = env.compile(text).return_type()
    except RuntimeError as error:
        return _explained(str(error), source)
    if kind != cel.Type.BOOL and kind != cel.Type.DYN:
        return ConditionComplaint(f"gives a {kind.name().lower()}, not true or false", source[:80], "compare it")
    return None


def _cel_type(field: Field | None) -> cel.Type:
    kinds = cel.Type
    if field is None:
        return kinds.DYN
    if field.type == "list":
        return kinds.List(_cel_type(field.item_type))
    if field.type == "dict":
        return kinds.Map(kinds.STRING, kinds.DYN)
    plain = {"integer": kinds.INT, "float": kinds.DOUBLE, "boolean": kinds.BOOL}
    return plain.get(field.type, kinds.STRING)


def _explained(error: str, source: str) -> ConditionComplaint:
    """CEL's first complaint in our words, with the part of the text where it stands."""
    match = re.search(r"<input>:(-?\d+):(-?\d+): (.*)", error)
    if match is None:
        return ConditionComplaint("the condition is nested too deep", source[:40], "split it into simpler conditions")
    line, column, message = int(match[1]), int(match[2]), match[3]
    lines = source.split("\n")
    near = lines[line - 1][max(column - 1, 0) :][:40] if 0 < line <= len(lines) else source[:40]
    if "recursion" in message:
        return ConditionComplaint("the condition is nested too deep", near, "split it into simpler conditions")
    return ConditionComplaint(message.removesuffix(" [INVALID_ARGUMENT]"), near, _advice(message))


def _advice(message: str) -> str | None:
    if "no matching overload" not in message:
        return None
    operands = message.rpartition("applied to")[2]
    if "double" in operands and "int" in operands:
        return "a float is compared with a float: write 1.0 instead of 1"
    return "compare values of one type"


def _near(source: str, word: Token) -> str:
    return source[word.start :][:40]
