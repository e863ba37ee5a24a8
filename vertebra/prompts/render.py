"""Renders a prompt. The values are data: whatever they hold is printed as it is, and never read as a template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import minijinja

from vertebra.policies.fields import check_fields
from vertebra.prompts.translate import Report, translate
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.errors import GraphError, RenderLimit
from vertebra.schemas.fields import Field, Fields
from vertebra.schemas.prompt import Prompt

FUEL = 500_000
"""Steps of one render; a loop over 10,000 items with two tags takes about 100,000."""
MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Rendered:
    system: str
    user: str


def render(prompt: Prompt, values: Json) -> Rendered:
    """The texts of the prompt over an input. Raises BadInput (all problems) before rendering, RenderLimit within it."""
    checked = check_fields(prompt.input, values, at=f"input of prompt {prompt.ref}")
    templates = _templates(prompt)
    values = _filled(prompt.input, checked)
    out = _Output(prompt.ref)
    return Rendered(*(out.of(templates, name, values) for name in ("system", "template")))


@dataclass(frozen=True)
class _Templates:
    environment: minijinja.Environment
    literals: dict[str, tuple[str, ...]]


class _Output:
    """What one render prints, counted as it grows: fuel bounds the steps, not the size of what a step prints."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._room = MAX_CHARACTERS

    def of(self, templates: _Templates, name: str, values: dict[str, Json]) -> str:
        tools = {"e": self._text, "f": self._float, "n": _length, "p": _present}
        try:
            return templates.environment.render_template(name, v=values, t=templates.literals[name], **tools)
        except minijinja.TemplateError as error:
            if error.kind == "OutOfFuel":
                raise RenderLimit(f"takes more than {FUEL} steps", at=f"prompt {self._ref}", do=_SHORTER) from None
            raise GraphError(f"cannot be rendered: {error.kind}", at=f"prompt {self._ref}") from None

    def _text(self, value: Json = None) -> str:
        text = _plain(value)
        self._room -= len(text)
        if self._room < 0:
            message = f"gives more than {MAX_CHARACTERS} characters"
            raise RenderLimit(message, at=f"prompt {self._ref}", do=_SHORTER)
        return text

    def _float(self, value: float | None = None) -> str:
        # minijinja hands 1.0 back as 1; the declared type knows better.
        return "" if value is None else self._text(repr(float(value)))


_SHORTER = "give it shorter lists or texts"


def _plain(value: Json) -> str:
    """A text as it is, nothing for an absent value, all else as JSON writes it, without absent fields."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(_without_absent(value))


def _without_absent(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _without_absent(item) for name, item in value.items() if item is not None}
    return [_without_absent(item) for item in value] if isinstance(value, list) else value


def _length(value: str | list[Json] | None = None) -> int:
    return 0 if value is None else len(value)


def _present(value: Json = None) -> Json:
    return value


def _filled(fields: Fields, value: dict[str, Json]) -> dict[str, Json]:
    """The value with None for every absent field: minijinja would find a dictionary's own `items` or `keys` there."""
    return {name: _filled_item(field, value.get(name)) for name, field in fields.items()}


def _filled_item(field: Field | None, value: Json) -> Json:
    if isinstance(value, dict) and field is not None and field.fields is not None:
        return _filled(field.fields, value)
    if isinstance(value, list) and field is not None and field.item_type is not None:
        return [_filled_item(field.item_type, item) for item in value]
    return value


@lru_cache(maxsize=256)
def _templates(prompt: Prompt) -> _Templates:
    """The compiled texts of a prompt; it is frozen, so that equal ones share them."""
    environment = minijinja.Environment(
        fuel=FUEL,
        debug=False,
        pycompat=False,
        undefined_behavior="chainable",  # declared but absent prints as nothing; undeclared was refused when loaded
        keep_trailing_newline=True,
        auto_escape_callback=_never_escaped,
    )
    literals = {}
    for name, text in (("system", prompt.system), ("template", prompt.template)):
        translated = translate(text, prompt.input, _refuse(prompt.ref))
        environment.add_template(name, translated.source)
        literals[name] = translated.literals
    return _Templates(environment, literals)


def _never_escaped(_name: str) -> bool:
    return False


def _refuse(ref: str) -> Report:
    """Stops at the first fault of a prompt that was never loaded."""

    def report(line: int, message: str, do: str | None) -> None:
        raise GraphError(message, at=f"prompt {ref} line {line + 1}", do=do)

    return report
