"""A model's reply gives the declared fields, or is invalid; where two things may be meant it is invalid."""

from __future__ import annotations

import pytest

from vertebra.policies.declared import read_fields
from vertebra.prompts.parse import parse_output
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import OutputInvalid
from vertebra.schemas.fields import fields_text
from vertebra.schemas.places import Complain, Path
from vertebra.schemas.prompt import Prompt


def _never(path: Path, message: str, do: str | None = None, /) -> None:
    raise AssertionError(message)


NEVER: Complain = _never
OUTPUT: Json = {
    "approved": {"type": "boolean", "required": True},
    "priority": {"type": "enum", "values": ["critical", "high"]},
    "note": {"type": "string", "default": ""},
}
PROMPT = Prompt(name="judge", version=2, template="x", output_json=fields_text(read_fields(OUTPUT, (), NEVER)))
PLAIN = Prompt(name="say", version=1, template="x")

FALSE, TRUE = '{"approved": false}', '{"approved": true}'


@pytest.mark.parametrize(
    "text",
    [
        FALSE,
        f"  \n{FALSE}\r\n",
        f"```json\n{FALSE}\n```",
        f"```\n{FALSE}\n```",
        f"Here is my answer:\n```json\n{FALSE}\n```\nThat is all.",
        '{"approved": false, "priority": null}',
        '{\n  "approved":\n false\n}',
        f"```json\r\n{FALSE}\r\n```\r\n",
    ],
)
def test_one_candidate_is_read(text: str) -> None:
    """An object alone, or alone in the one fence, is the reply; defaults are filled in."""
    assert {"approved": False, "note": ""} == parse_output(PROMPT, text)


def test_other_line_ends_inside_texts_are_kept() -> None:
    """U+2028 and fences inside of a JSON text are part of that text."""
    inside = '{"approved": false, "note": "a\u2028b ``` {x}"}'

    assert "a\u2028b ``` {x}" == parse_output(PROMPT, inside)["note"]
    assert "a\u2028b ``` {x}" == parse_output(PROMPT, f"```json\n{inside}\n```")["note"]


AMBIGUOUS = [
    f"{FALSE}\n{TRUE}",
    f"{FALSE} {TRUE}",
    f"{FALSE},{TRUE}",
    f"[{FALSE},{TRUE}]",
    f"{FALSE}\n\nOn second thought:\n{TRUE}",
    f"```json\n{FALSE}\n```\n```json\n{TRUE}\n```",
    f"```json\n{FALSE}\n```\n{TRUE}",
    f"{FALSE}\n```json\n{TRUE}\n```",
    f"I say {FALSE}\n```json\n{TRUE}\n```",
    f"```json\n{FALSE}\n{TRUE}\n```",
    f"```json\n{FALSE}",
    f"```json {FALSE}\n{TRUE}\n```",
    f"````json\n```\n{FALSE}\n```\n{TRUE}\n````",
    f"```json\n{FALSE}\n``` {TRUE}",
    f"Sure! {FALSE}",
    f"The answer is {FALSE}, not {TRUE}.",
    '{"approved": false, "approved": true}',
    '{"approved": fal',
    '{"approved": false} // or true',
    '{"approved": false, "note": "x"} }',
    "{'approved': false}",
    "{approved: false}",
    '{"approved": False}',
    '{"approved": false,}',
    "<json>" + FALSE + "</json>",
    "~~~json\n" + FALSE + "\n~~~",
    "approved: false",
    "",
    "hello",
    "false",
    "null",
    "[]",
    '"{\\"approved\\": false}"',
]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_an_ambiguous_reply_is_invalid(text: str) -> None:
    """No field is taken from a second candidate, a broken one, or prose."""
    with pytest.raises(OutputInvalid, match=r"reply to prompt judge@2"):
        parse_output(PROMPT, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"approved": "\\u0000"}', "NUL"),
        ('{"approved": true, "note": "\\ud800"}', "surrogate"),
        ('{"approved": NaN}', "NaN"),
        ('{"approved": 1e400}', "not finite"),
        ('{"approved":' + "[" * 50_000, "nested deeper"),
        ('{"approved": true, "note": "' + "x" * 200_000 + '"}', "larger than 200000"),
        ('{"approved": true, "note": "' + "ä" * 150_000 + '"}', "larger than 200000"),
        ('{"approved": 1}', "approved: must be true or false, not an integer"),
        ('{"approved": "true"}', "approved: must be true or false, not a string"),
        ("{}", "approved: is required"),
        ('{"approved": true, "priority": "urgent"}', "priority: must be one of critical, high"),
        ('{"approved": true, "aproved": false}', "aproved: is not declared; did you mean 'approved'?"),
    ],
)
def test_a_bad_reply_says_which_field_and_why(text: str, reason: str) -> None:
    """The error names each bad field; `.problems` holds them for a correction."""
    with pytest.raises(OutputInvalid) as caught:
        parse_output(PROMPT, text)

    assert reason in str(caught.value)
    assert caught.value.problems


def test_a_prompt_without_output_gives_text() -> None:
    """Plain text is given on under one name, unless no store could hold it."""
    assert {"text": f" {FALSE}\n"} == parse_output(PLAIN, f" {FALSE}\n")
    for text in ("a\0b", "\ud800"):
        with pytest.raises(OutputInvalid):
            parse_output(PLAIN, text)
