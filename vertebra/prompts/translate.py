"""Turns a prompt's text with its few tags into minijinja.

The forms are `{{path}}`, `{{#if condition}}..{{else}}..{{/if}}` and `{{#each list}}..{{/each}}`; text outside of them
is kept byte for byte, line ends after tags too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vertebra.prompts.expressions import Operand, Scope, TemplateFault
from vertebra.schemas.fields import Fields

MAX_OPEN = 16
_UNCLOSED = "{{"

Report = Callable[[int, str, str | None], None]
"""Takes a fault: line of the text (from 0), what is wrong, what to do."""


@dataclass(frozen=True)
class Translated:
    source: str
    """minijinja over `v` (the input) and `t` (the literals), with the functions of `render`: `e f n p`."""
    literals: tuple[str, ...]


def translate(text: str, inputs: Fields, report: Report) -> Translated:
    """The minijinja of a template over these inputs; every fault is reported, and the result then not to be used."""
    return _Translation(inputs, report).run(text)


@dataclass
class _Open:
    """A block that waits for its end."""

    tag: str
    line: int
    has_else: bool = False


class _Translation:
    def __init__(self, inputs: Fields, report: Report) -> None:
        self._scope = Scope(inputs)
        self._report = report
        self._open: list[_Open] = []
        self._out: list[str] = []

    def run(self, text: str) -> Translated:
        for line, literal, tag in _pieces(text):
            if literal:
                self._out.append(f"{{{{ e({self._scope.literal(literal)}) }}}}")
            if tag is not None:
                try:
                    self._tag(tag.strip(), line)
                except TemplateFault as fault:
                    self._report(line, fault.message, fault.do)
        for block in self._open:
            self._report(block.line, f"{{{{#{block.tag}}}}} is never closed", f"write {{{{/{block.tag}}}}} at its end")
        return Translated("".join(self._out), tuple(self._scope.literals))

    def _tag(self, tag: str, line: int) -> None:
        if tag == _UNCLOSED:
            raise TemplateFault("a tag is never closed", "write }} at its end; an apostrophe in a tag opens a text")
        if tag.startswith("#"):
            self._begin(tag[1:], line)
        elif tag.startswith("/"):
            self._end(tag[1:].strip())
        elif tag == "else":
            self._else()
        else:
            self._out.append(_emitted(self._scope.path(tag)))

    def _begin(self, tag: str, line: int) -> None:
        word, rest = (*tag.split(None, 1), "", "")[:2]
        if word not in ("if", "each"):
            raise TemplateFault(f"unknown tag '#{word}'", "the blocks are #if and #each")
        self._open.append(_Open(word, line))
        if len(self._open) > MAX_OPEN:
            raise TemplateFault(f"blocks are nested deeper than {MAX_OPEN}", "split the prompt")
        if word == "if":
            self._out.append("{% if " + self._scope.condition(rest) + " %}")
        else:
            self._each(rest.strip())

    def _each(self, path: str) -> None:
        try:
            items = self._scope.path(path)
            if items.kind != "list" or items.field is None:
                raise TemplateFault(f"#each goes over lists, and {path!r} is none", "declare it with type: list")
        except TemplateFault:
            self._scope.loops.append(None)
            raise
        self._scope.loops.append(items.field.item_type)
        depth = len(self._scope.loops)
        self._out.append(f"{{% for i{depth} in {items.code} or [] %}}{{% set x{depth} = loop.index0 %}}")

    def _else(self) -> None:
        if not self._open or self._open[-1].tag != "if" or self._open[-1].has_else:
            raise TemplateFault("{{else}} stands outside of #if", "write it once between {{#if ..}} and {{/if}}")
        self._open[-1].has_else = True
        self._out.append("{% else %}")

    def _end(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            wanted = f"{{{{/{self._open[-1].tag}}}}}" if self._open else "nothing"
            raise TemplateFault(f"{{{{/{tag}}}}} closes nothing", f"here {wanted} can be closed")
        self._open.pop()
        if tag == "each":
            self._scope.loops.pop()
        self._out.append("{% endif %}" if tag == "if" else "{% endfor %}")


def _emitted(value: Operand) -> str:
    is_float = value.field is not None and value.field.type == "float"
    return f"{{{{ {'f' if is_float else 'e'}({value.code}) }}}}"


def _pieces(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Line of the tag, text before it, and the tag; at the end the rest of the text with no tag."""
    at = 0
    while (start := text.find("{{", at)) >= 0:
        end = _tag_end(text, start + 2)
        if end is None:
            yield text.count("\n", 0, start), text[at:start], _UNCLOSED
            return
        yield text.count("\n", 0, start), text[at:start], text[start + 2 : end]
        at = end + 2
    yield 0, text[at:], None


def _tag_end(text: str, at: int) -> int | None:
    """Where the `}}` of a tag begins; inside quotes it is no end."""
    quote = None
    while at < len(text):
        if quote is None and text.startswith("}}", at):
            return at
        if text[at] in "\"'" and quote in (None, text[at]):
            quote = None if quote else text[at]
        at += 1
    return None
