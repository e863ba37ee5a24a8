"""Reads a model's reply against the prompt's output fields. The reply is data from an attacker: nothing is guessed.

A reply is one JSON object, alone or in the one Markdown fence of a text that holds no other. Where two things might be
meant, it is invalid, because the one that is not checked would be the one that is used.
"""

from __future__ import annotations

from vertebra.policies.fields import Problem, inspect_fields
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadJson, OutputInvalid
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.strict_json import check_value, read_json

MAX_BYTES = 200_000
_FENCE = "```"


def parse_output(prompt: Prompt, text: str) -> dict[str, Json]:
    """The checked value of a reply, with defaults. Raises OutputInvalid naming each bad field and why (`.problems`)."""
    at = f"reply to prompt {prompt.ref}"
    try:
        if not prompt.output:
            return {"text": check_value(text)}
        value = read_json(_candidate(text), max_bytes=MAX_BYTES)
    except BadJson as error:
        raise OutputInvalid(str(error), at=at, problems=(Problem((), str(error)),)) from None
    checked, problems = inspect_fields(prompt.output, value)
    if problems:
        raise OutputInvalid("; ".join(str(problem) for problem in problems), at=at, problems=tuple(problems))
    return checked


def _candidate(text: str) -> str:
    """The only part of a reply that can be meant. Raises BadJson where there is none, or more than one."""
    if len(text) > MAX_BYTES:
        raise BadJson(f"larger than {MAX_BYTES} bytes")
    whole = text.strip(" \t\r\n")
    if whole.startswith("{"):
        return whole
    lines = whole.split("\n")  # JSON may hold other line ends, such as U+2028
    fences = [index for index, line in enumerate(lines) if line.strip().startswith(_FENCE)]
    if not fences:
        raise BadJson("the reply is no JSON object")
    if len(fences) != 2 or lines[fences[1]].strip() != _FENCE:
        raise BadJson("the reply holds more than one fence, or an open one")
    first, last = fences
    if any("{" in line for line in (*lines[: first + 1], *lines[last + 1 :])):
        raise BadJson("the reply holds something that may be an object beside its fence")
    return "\n".join(lines[first + 1 : last])
