"""The words of the template language: paths into the prompt's input, literals, and the conditions of `{{#if}}`.

Everything is resolved against the declared fields when a prompt is loaded, so that no name can be missing when it is
rendered. What comes out is minijinja, built only from parts made here: text of the author goes into a table of
literals, never into the minijinja source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from vertebra.policies.fields import nearest
from vertebra.schemas.fields import Field, Fields

MAX_TERMS = 64
Kind = Literal["text", "number", "boolean", "list", "dict", "any"]

_PATH = re.compile(r"(?P<up>(?:\.\./)*)(?P<head>this|@index|[A-Za-z_]\w*)(?P<rest>(?:\.[A-Za-z_]\w*)*)", re.ASCII)
_WORD = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<number>-?[0-9]+(?:\.[0-9]+)?)(?![\w.])
      |(?P<operator>==|!=|<|>)|(?P<path>[@./\w]+))""",
    re.VERBOSE | re.ASCII,
)
_KINDS: dict[str, Kind] = {
    "string": "text",
    "enum": "text",
    "integer": "number",
    "float": "number",
    "boolean": "boolean",
    "list": "list",
    "dict": "dict",
}


class TemplateFault(Exception):
    """A tag says something that the template language or the declared fields do not know."""

    def __init__(self, message: str, do: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.do = do


@dataclass(frozen=True)
class Operand:
    """A value of the template: the minijinja that gives it, and what is known of its type."""

    code: str
    kind: Kind
    field: Field | None = None
    is_path: bool = True

    @property
    def compared(self) -> str:
        """The value in a comparison, where whatever is absent is none."""
        return f"p({self.code})" if self.is_path else self.code


@dataclass
class Scope:
    """What the names of a template mean at one place: the declared inputs, and the items of the loops around it."""

    inputs: Fields
    literals: list[str] = field(default_factory=list)
    loops: list[Field | None] = field(default_factory=list)

    def literal(self, text: str) -> str:
        """The minijinja that gives this text."""
        self.literals.append(text)
        return f"t[{len(self.literals) - 1}]"

    def path(self, text: str) -> Operand:
        """The value that a path stands for. Raises TemplateFault where nothing declared fits it."""
        match = _PATH.fullmatch(text)
        if match is None:
            raise TemplateFault(f"{text!r} is no path", "write a name, a.b, this, this.field, @index or ../name")
        level = len(self.loops) - match["up"].count("../")
        if level < 0:
            raise TemplateFault(
                f"{text!r} goes above the top", f"take one '../' away: {len(self.loops)} loops are open"
            )
        names = match["rest"].split(".")[1:]
        head = match["head"]
        if head in ("this", "@index"):
            return self._item(text, head, level, names)
        return self._named(text, head, level, names, up=bool(match["up"]))

    def _item(self, text: str, head: str, level: int, names: list[str]) -> Operand:
        if level == 0:
            raise TemplateFault(f"{text!r} stands outside of #each", "put it between {{#each list}} and {{/each}}")
        if head == "this":
            return _below(f"i{level}", self.loops[level - 1], names, text)
        if names:
            raise TemplateFault(f"{text!r} is no path", "write @index")
        return Operand(f"x{level}", "number")

    def _named(self, text: str, head: str, level: int, names: list[str], *, up: bool) -> Operand:
        """A bare name is a field of the innermost item or an input of the prompt; `../` leaves that many loops."""
        item = self.loops[level - 1] if level else None
        of_item = (item.fields or {}) if item else {}
        if head in of_item:
            if head in self.inputs and not up:
                raise TemplateFault(f"{head!r} is both an input and a field of the item", f"write this.{head}")
            return _below(f"i{level}", item, [head, *names], text)
        if head in self.inputs and (level == 0 or not up):
            return _below("v", Field(type="dict", fields=dict(self.inputs)), [head, *names], text)
        raise TemplateFault(f"undeclared name {text!r}", nearest(head, {**self.inputs, **of_item}))

    def condition(self, text: str) -> str:
        """The minijinja of a condition: paths and literals, == != < > and or not; `not` binds closest, then `and`."""
        words = _words(text)
        if len(words) > MAX_TERMS:
            raise TemplateFault(f"the condition has more than {MAX_TERMS} words", "decide it before the prompt")
        return _Condition(self, words).read()


def _below(code: str, at: Field | None, names: list[str], text: str) -> Operand:
    for position, name in enumerate(names):
        fields = at.fields if at is not None else None
        if fields is not None and name in fields:
            code, at = f'{code}["{name}"]', fields[name]
        elif name == "length" and position == len(names) - 1 and at is not None and at.type in ("list", "string"):
            return Operand(f"n({code})", "number", is_path=False)
        elif fields is not None:
            raise TemplateFault(f"undeclared name {text!r}: no field {name!r}", nearest(name, fields))
        else:
            raise TemplateFault(f"undeclared name {text!r}: no field {name!r}", "declare the fields of what it is in")
    return Operand(code, _KINDS[at.type] if at is not None else "any", at)


def _words(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while text[at:].strip():
        match = _WORD.match(text, at)
        if match is None:
            raise TemplateFault(f"cannot read {text[at:].strip()[:40]!r}", "conditions know == != < > and or not")
        found.append((str(match.lastgroup), match.group().strip()))
        at = match.end()
    return found


class _Condition:
    """Reads one condition from left to right."""

    def __init__(self, scope: Scope, words: list[tuple[str, str]]) -> None:
        self._scope = scope
        self._words = words
        self._at = 0

    def read(self) -> str:
        code = self._chain("or")
        if self._at < len(self._words):
            self._fail(f"unexpected {self._words[self._at][1]!r}")
        return code

    def _chain(self, word: Literal["or", "and"]) -> str:
        parts = [self._chain("and") if word == "or" else self._negated()]
        while self._take(word):
            parts.append(self._chain("and") if word == "or" else self._negated())
        return f"({f' {word} '.join(parts)})"

    def _negated(self) -> str:
        turns = 0
        while self._take("not"):
            turns += 1
        code = self._comparison()
        return f"(not {code})" if turns % 2 else code

    def _take(self, word: str) -> bool:
        taken = self._at < len(self._words) and self._words[self._at] == ("path", word)
        self._at += taken
        return taken

    def _comparison(self) -> str:
        left = self._operand()
        if self._at >= len(self._words) or self._words[self._at][0] != "operator":
            return left.code
        operator = self._words[self._at][1]
        self._at += 1
        right = self._operand()
        if left.kind != right.kind or left.kind in ("list", "dict"):
            self._fail(f"{operator!r} compares a {left.kind} with a {right.kind}")
        if operator in ("==", "!="):
            return f"({left.compared} {operator} {right.compared})"
        if left.kind not in ("number", "text"):
            self._fail(f"{operator!r} compares numbers or texts, not a {left.kind}")
        present = "".join(f"{side.compared} is not none and " for side in (left, right) if side.is_path)
        return f"({present}{left.code} {operator} {right.code})"

    def _operand(self) -> Operand:
        if self._at >= len(self._words):
            self._fail("the condition ends too early")
        kind, word = self._words[self._at]
        self._at += 1
        if kind == "text":
            return Operand(self._scope.literal(word[1:-1]), "text", is_path=False)
        if kind == "number":
            return Operand(word, "number", is_path=False)
        if word in ("true", "false"):
            return Operand(word, "boolean", is_path=False)
        if kind == "operator" or word in ("and", "or", "not"):
            self._fail(f"a value is missing before {word!r}")
        return self._scope.path(word)

    def _fail(self, message: str) -> NoReturn:
        raise TemplateFault(message, 'conditions look like: a == "b" and not c.d > 3')
